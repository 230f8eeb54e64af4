"""How numbers, times, prices, signs and abbreviations are read out, by language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Language:
    """Templates and words. Empty ones are left out of what is spoken."""

    code: str = ""
    signs: Mapping[str, str] = field(default_factory=dict)
    """``* # @ . / - _ + & % = < > ~ :`` and ``sharp``, ``times``, ``number``, ``to``, ``or``, ``point``."""
    hour: tuple[str, str] = ("", "")
    """A whole hour, and one with minutes."""
    first_hour: str = ""
    """How the 1 of one o'clock is said where that is another word than the number."""
    money: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Sign or code of a currency to one and many of it."""
    cents: str = "{money} {cents}"
    months: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    date: str = "{day} {month} {year}"
    ordinal_days: str = "first"
    """Which days of a month are ordinals: all, the first, or none."""
    codes: str = ""
    """A pattern of the words before a number that is read digit by digit."""
    abbreviations: Mapping[str, str] = field(default_factory=dict)
    """Patterns, where a word begins, to what is said."""


def _signs(words: str) -> Mapping[str, str]:
    """Of the words in the order below, parted by |."""
    names = ("*", "#", "@", ".", "/", "-", "_", "+", "&", "%", "=", "<", ">", "~", "°", "sharp", "times", "number",
             "to", "or", "point", "minus")  # fmt: skip
    return MappingProxyType(dict(zip(names, words.split("|"), strict=True)))


def _money(euro: str, dollar: str, pound: str, franc: str) -> dict[str, tuple[str, str]]:
    named = {"€": euro, "EUR": euro, "Euro": euro, "$": dollar, "USD": dollar, "£": pound, "GBP": pound, "CHF": franc}
    return {sign: (words.split("|")[0], words.split("|")[-1]) for sign, words in named.items()}


ENGLISH = Language(
    "en",
    _signs(
        "star|pound|at|dot|slash|dash|underscore|plus|and|percent|equals|less than|greater than|about|degrees"
        "|sharp|times|number|to|or|point|minus"
    ),
    ("{h} o'clock", "{h} {m}"),
    "",
    _money("euro|euros", "dollar|dollars", "pound|pounds", "franc|francs")
    | {"¥": ("yen", "yen"), "₹": ("rupee", "rupees")},
    "{money} and {cents} {cent}",
    tuple("January February March April May June July August September October November December".split()),
    tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "{month} {day} {year}",
    "all",
    r"codes?|pin|passcode|account|extension|ext\.|reference|ticket|order|confirmation|customer|serial|tracking|"
    r"phone|fax|flight|policy|case|invoice|zip",
    {
        r"Dr\.(?= [A-Z])": "Doctor", r"Mr\.": "Mister", r"Mrs\.": "Missus", r"Ms\.": "Miz", r"Prof\.": "Professor",
        r"St\.(?= [A-Z])": "Saint", r"St\.": "Street", r"Ave\.": "Avenue", r"Rd\.": "Road", r"Blvd\.": "Boulevard",
        r"No\.(?= ?\d)": "number", r"[Ee]xt\.": "extension", r"[Aa]pprox\.": "approximately", r"etc\.": "et cetera",
        r"e\.g\.,?": "for example,", r"i\.e\.,?": "that is,", r"vs\.": "versus", r"[Dd]ept\.": "department",
        r"[Tt]el\.": "telephone", r"[Mm]in\.(?! )": "minutes", r"[Mm]ax\.": "maximum", r"Inc\.": "Incorporated",
        r"Ltd\.": "Limited", r"Co\.": "Company", r"Apt\.": "apartment", r"w/o\b": "without", r"w/(?= )": "with",
        r"24/7": "twenty-four seven", r"km\b": "kilometers", r"kg\b": "kilograms",
    },
)  # fmt: skip
GERMAN = Language(
    "de",
    _signs(
        "Stern|Raute|at|Punkt|Schrägstrich|Strich|Unterstrich|plus|und|Prozent|gleich|kleiner als|größer als|etwa|Grad"
        "|sharp|mal|Nummer|bis|oder|Komma|minus"
    ),
    ("{h} Uhr", "{h} Uhr {m}"),
    "ein",
    _money("Euro", "Dollar", "Pfund", "Franken"),
    months=tuple("Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()),
    days=tuple("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split()),
    ordinal_days="all",
    codes=r"\w*nummer|\w*code|pin|durchwahl|kennwort|postleitzahl|plz",
    abbreviations={
        r"Dr\.": "Doktor", r"Prof\.": "Professor", r"Hr\.": "Herr", r"Fr\.(?= [A-ZÄÖÜ])": "Frau", r"z\. ?B\.":
        "zum Beispiel", r"d\. ?h\.": "das heißt", r"u\. ?a\.": "unter anderem", r"usw\.": "und so weiter",
        r"bzw\.": "beziehungsweise", r"ca\.": "circa", r"inkl\.": "inklusive", r"zzgl\.": "zuzüglich", r"Nr\.":
        "Nummer", r"Tel\.": "Telefon", r"Str\.": "Straße", r"St\.": "Sankt", r"evtl\.": "eventuell", r"ggf\.":
        "gegebenenfalls", r"max\.": "maximal", r"mind\.": "mindestens", r"24/7": "rund um die Uhr",
        r"km\b": "Kilometer", r"kg\b": "Kilogramm",
    },
)  # fmt: skip
SPANISH = Language(
    "es",
    _signs(
        "asterisco|almohadilla|arroba|punto|barra|guion|guion bajo|más|y|por ciento|igual a|menor que|mayor que"
        "|unos|grados|sostenido|por|número|a|o|coma|menos"
    ),
    ("{h}", "{h} y {m}"),
    "una",
    _money("euro|euros", "dólar|dólares", "libra|libras", "franco|francos"),
    "{money} con {cents}",
    tuple("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()),
    tuple("lunes martes miércoles jueves viernes sábado domingo".split()),
    "{day} de {month} de {year}",
    codes=r"código|pin|cuenta|extensión|referencia|teléfono|pedido|cliente|postal",
    abbreviations={
        r"Sr\.": "señor", r"Sra\.": "señora", r"Srta\.": "señorita", r"Dr\.": "doctor", r"Dra\.": "doctora",
        r"[Uu]ds?\.": "usted", r"p\. ?ej\.": "por ejemplo", r"etc\.": "etcétera", r"núm\.": "número", r"n\.?º":
        "número", r"[Tt]el\.": "teléfono", r"[Aa]v(?:da)?\.": "avenida", r"C/": "calle ", r"aprox\.": "aproximadamente",
        r"24/7": "las veinticuatro horas",
    },
)  # fmt: skip
FRENCH = Language(
    "fr",
    _signs(
        "étoile|dièse|arobase|point|barre oblique|tiret|tiret bas|plus|et|pour cent|égale|inférieur à|supérieur à"
        "|environ|degrés|dièse|fois|numéro|à|ou|virgule|moins"
    ),
    ("{h} heures", "{h} heures {m}"),
    "une",
    _money("euro|euros", "dollar|dollars", "livre|livres", "franc|francs"),
    months=tuple("janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split()),
    days=tuple("lundi mardi mercredi jeudi vendredi samedi dimanche".split()),
    codes=r"code|pin|compte|poste|référence|téléphone|commande|client|postal",
    abbreviations={
        r"M\.(?= [A-ZÉÈÀ])": "Monsieur", r"MM\.": "Messieurs", r"Mme\.?": "Madame", r"Mlle\.?": "Mademoiselle",
        r"Dr\.?(?= [A-Z])": "Docteur", r"p\. ?ex\.": "par exemple", r"etc\.": "et cetera", r"[Nn]°": "numéro",
        r"[Tt]él\.": "téléphone", r"[Aa]v\.": "avenue", r"[Bb]d\.?(?= )": "boulevard", r"env\.": "environ",
        r"24/7": "vingt-quatre heures sur vingt-quatre",
    },
)  # fmt: skip
ITALIAN = Language(
    "it",
    _signs(
        "asterisco|cancelletto|chiocciola|punto|barra|trattino|trattino basso|più|e|per cento|uguale a|minore di"
        "|maggiore di|circa|gradi|diesis|per|numero|a|o|virgola|meno"
    ),
    ("{h}", "{h} e {m}"),
    "una",
    _money("euro", "dollaro|dollari", "sterlina|sterline", "franco|franchi"),
    "{money} e {cents}",
    tuple(
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre".split()
    ),
    tuple("lunedì martedì mercoledì giovedì venerdì sabato domenica".split()),
    codes=r"codice|pin|conto|interno|riferimento|telefono|ordine|cliente|postale",
    abbreviations={
        r"[Ss]ig\.ra": "signora", r"[Ss]ig\.na": "signorina", r"[Ss]igg\.": "signori", r"[Ss]ig\.": "signor",
        r"[Dd]ott\.ssa": "dottoressa", r"[Dd]ott\.": "dottor", r"[Pp]rof\.ssa": "professoressa", r"[Pp]rof\.":
        "professor", r"ad es\.": "ad esempio", r"ecc\.": "eccetera", r"[Tt]el\.": "telefono", r"n\.(?= ?\d)": "numero",
        r"24/7": "ventiquattro ore su ventiquattro",
    },
)  # fmt: skip
DUTCH = Language(
    "nl",
    _signs(
        "sterretje|hekje|apenstaartje|punt|schuine streep|streepje|laag streepje|plus|en|procent|is|kleiner dan"
        "|groter dan|ongeveer|graden|kruis|keer|nummer|tot|of|komma|min"
    ),
    ("{h} uur", "{h} uur {m}"),
    "",
    _money("euro", "dollar", "pond", "frank"),
    months=tuple("januari februari maart april mei juni juli augustus september oktober november december".split()),
    days=tuple("maandag dinsdag woensdag donderdag vrijdag zaterdag zondag".split()),
    ordinal_days="none",
    codes=r"\w*code|pin|\w*nummer|toestel",
    abbreviations={
        r"[Dd]hr\.": "de heer", r"[Mm]evr\.": "mevrouw", r"[Mm]w\.": "mevrouw", r"[Dd]r\.": "dokter", r"bijv\.":
        "bijvoorbeeld", r"bv\.": "bijvoorbeeld", r"d\.w\.z\.": "dat wil zeggen", r"o\.a\.": "onder andere", r"enz\.":
        "enzovoort", r"nr\.": "nummer", r"[Tt]el\.": "telefoon", r"ca\.": "circa", r"m\.u\.v\.": "met uitzondering van",
        r"a\.u\.b\.": "alstublieft", r"24/7": "dag en nacht",
    },
)  # fmt: skip
PORTUGUESE = Language(
    "pt",
    _signs(
        "asterisco|cardinal|arroba|ponto|barra|hífen|sublinhado|mais|e|por cento|igual a|menor que|maior que"
        "|cerca de|graus|sustenido|vezes|número|a|ou|vírgula|menos"
    ),
    ("{h} horas", "{h} e {m}"),
    "uma",
    _money("euro|euros", "dólar|dólares", "libra|libras", "franco|francos") | {"R$": ("real", "reais")},
    "{money} e {cents}",
    tuple("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro".split()),
    tuple("segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo".split()),
    "{day} de {month} de {year}",
    codes=r"código|pin|conta|ramal|extensão|referência|telefone|pedido|cliente|postal",
    abbreviations={
        r"Sra\.": "senhora", r"Sr\.": "senhor", r"Dra\.": "doutora", r"Dr\.": "doutor", r"p\. ?ex\.": "por exemplo",
        r"etc\.": "et cetera", r"n\.?º": "número", r"[Tt]el\.": "telefone", r"[Aa]v\.": "avenida", r"R\.(?= [A-Z])":
        "rua", r"aprox\.": "aproximadamente", r"24/7": "vinte e quatro horas por dia",
    },
)  # fmt: skip
_BY_CODE = {lang.code: lang for lang in (ENGLISH, GERMAN, SPANISH, FRENCH, ITALIAN, DUTCH, PORTUGUESE)}


def language(tag: str) -> Language:
    """Of a tag like ``en-US``. Others than the seven have no words: their voices read numbers by themselves."""
    return _BY_CODE.get(re.split("[-_]", tag)[0].lower(), Language())
