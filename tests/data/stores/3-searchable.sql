CREATE TABLE calls (
    call_id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX calls_started ON calls (started_at);
CREATE INDEX calls_live ON calls (ended_at) WHERE ended_at = 0;
CREATE TABLE ended (
    number INTEGER PRIMARY KEY, call_id TEXT NOT NULL UNIQUE, started_at REAL NOT NULL,
    agent TEXT NOT NULL, outcome TEXT NOT NULL, digits TEXT NOT NULL, caller TEXT NOT NULL
);
CREATE INDEX ended_started ON ended (started_at);
CREATE INDEX ended_outcome ON ended (outcome, started_at);
CREATE VIRTUAL TABLE spoken USING fts5 (text, tokenize = "unicode61 remove_diacritics 2", prefix = "3");
INSERT INTO calls VALUES ('11111111-1111-4111-8111-111111111111', 1764000000.0, 0.0, '{"call_id":"11111111-1111-4111-8111-111111111111","agent":"reception","rate":8000,"caller":{"number":"5550100","name":"Ann \"x\" ''y''"},"worker":0,"registered":true,"started_at":1764000000.0,"connected_at":0.0,"detached_at":0.0,"seconds":0.0,"ended_at":0.0,"outcome":"","connects":1,"memory":{"slots":{"account":""}},"done":{},"pending":null,"away":"","digits_wanted":0,"gating":[],"troubles":[],"service_failed":false,"history":[{"role":"agent","text":"Hi.","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{},"source":""},{"role":"caller","text":"account","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{},"source":""}]}');
INSERT INTO calls VALUES ('22222222-2222-4222-8222-222222222222', 1764000100.0, 1764000160.0, '{"call_id":"22222222-2222-4222-8222-222222222222","agent":"reception","rate":8000,"caller":{"number":"5550101"},"worker":0,"registered":true,"started_at":1764000100.0,"connected_at":0.0,"detached_at":0.0,"seconds":0.0,"ended_at":1764000160.0,"outcome":"queue","connects":1,"memory":{},"done":{},"pending":null,"away":"","digits_wanted":0,"gating":[],"troubles":[],"service_failed":false,"history":[{"role":"caller","text":"the opening hours please","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{},"source":""},{"role":"agent","text":"Nine to five.","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{},"source":""}]}');
INSERT INTO ended VALUES (1, '22222222-2222-4222-8222-222222222222', 1764000100.0, 'reception', 'queue', '5550101', '5550101 ');
INSERT INTO spoken (rowid, text) VALUES (1, 'the opening hours please
Nine to five.');
PRAGMA user_version = 1;
