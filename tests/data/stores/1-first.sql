CREATE TABLE calls (
    call_id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX calls_started ON calls (started_at);
CREATE INDEX calls_live ON calls (ended_at) WHERE ended_at = 0;
INSERT INTO calls VALUES ('11111111-1111-4111-8111-111111111111', 1764000000.0, 0.0, '{"call_id":"11111111-1111-4111-8111-111111111111","agent":"reception","rate":8000,"caller":{"number":"5550100","name":"Ann \"x\" ''y''"},"registered":true,"started_at":1764000000.0,"connected_at":0.0,"detached_at":0.0,"ended_at":0.0,"outcome":"","connects":1,"memory":{"slots":{"account":""}},"pending":null,"gating":[],"history":[{"role":"agent","text":"Hi.","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{}},{"role":"caller","text":"account","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{}}]}');
INSERT INTO calls VALUES ('22222222-2222-4222-8222-222222222222', 1764000100.0, 1764000160.0, '{"call_id":"22222222-2222-4222-8222-222222222222","agent":"reception","rate":8000,"caller":{"number":"5550101"},"registered":true,"started_at":1764000100.0,"connected_at":0.0,"detached_at":0.0,"ended_at":1764000160.0,"outcome":"queue","connects":1,"memory":{},"pending":null,"gating":[],"history":[{"role":"caller","text":"the opening hours please","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{}},{"role":"agent","text":"Nine to five.","at":1764000000.0,"interrupted":false,"understood":true,"dialled":false,"timings":{}}]}');
PRAGMA user_version = 0;
