"""Reasons in words: a feature and its value as a phrase that a salesperson understands, in English or French."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from features.contract import APPROACHES, DIRECTIONS, REGIMES, ROLES, STAGES, STANDARD
from features.errors import BadInput
from features.firms import BAND_STAFF
from features.spec import Aggregate, Attribute, Expression, Feature, by_stage
from features.titles import RANKS

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = ("en", "fr")

_COLUMNS: Mapping[str, tuple[str, str]] = {
    "created_at": ("creation", "création"),
    "observed_at": ("last update", "dernière mise à jour"),
    "source": ("source", "source"),
    "regime": ("buying regime", "régime d'achat"),
    "approach": ("approach", "approche"),
    "tender_deadline": ("tender deadline", "date limite de l'appel d'offres"),
    "tender_announced_at": ("tender announcement", "publication de l'appel d'offres"),
    "country": ("country", "pays"),
    "industry": ("industry", "secteur d'activité"),
    "headcount": ("headcount", "effectif"),
    "headcount_band": ("headcount band", "tranche d'effectif"),
    "revenue": ("revenue", "chiffre d'affaires"),
    "founded_on": ("foundation of the firm", "création de l'entreprise"),
    "legal_form": ("legal form", "forme juridique"),
    "public_body": ("public body", "organisme public"),
    "company_category": ("company category", "catégorie d'entreprise"),
    "headcount_band_year": ("year of the headcount band", "année de la tranche d'effectif"),
    "local_authority": ("local authority", "collectivité territoriale"),
}
_WORDS_FR: Mapping[str, str] = {
    **dict(zip(REGIMES, ("masse", "industriel", "projet"), strict=True)),
    **dict(zip(ROLES, ("acheteur", "prescripteur", "utilisateur"), strict=True)),
    **dict(zip(DIRECTIONS, ("entrant", "sortant"), strict=True)),
    **dict(zip(RANKS, ("dirigeant", "responsable", "collaborateur"), strict=True)),
    **{"won": "gagné", "lost": "perdu", "renewed": "renouvelé", "expanded": "étendu"},
}
_STAGES: Mapping[str, tuple[str, str]] = dict(
    zip(STAGES, (("discovery", "découverte"), ("comparison", "comparaison"), ("decision", "décision")), strict=True)
)
_NAF_PARTS = {
    "section": ("section of activity", "section d'activité"),
    "division": ("division of activity", "division d'activité"),
    "class": ("class of activity", "classe d'activité"),
}
# The sections of NAF rev. 2, in short.
_SECTIONS: Mapping[str, tuple[str, str]] = {
    "A": ("agriculture, forestry, fishing", "agriculture, sylviculture, pêche"),
    "B": ("mining and quarrying", "industries extractives"),
    "C": ("manufacturing", "industrie manufacturière"),
    "D": ("electricity, gas, steam", "électricité, gaz, vapeur"),
    "E": ("water, waste", "eau, déchets"),
    "F": ("construction", "construction"),
    "G": ("trade, repair of vehicles", "commerce, réparation de véhicules"),
    "H": ("transport, storage", "transports, entreposage"),
    "I": ("accommodation, food service", "hébergement, restauration"),
    "J": ("information, communication", "information, communication"),
    "K": ("finance, insurance", "finance, assurance"),
    "L": ("real estate", "immobilier"),
    "M": ("science, technology, consulting", "sciences, techniques, conseil"),
    "N": ("administrative and support services", "services administratifs et de soutien"),
    "O": ("public administration", "administration publique"),
    "P": ("education", "enseignement"),
    "Q": ("health, social work", "santé, action sociale"),
    "R": ("arts, entertainment, recreation", "arts, spectacles, loisirs"),
    "S": ("other services", "autres services"),
    "T": ("households as employers", "ménages employeurs"),
    "U": ("extraterritorial bodies", "activités extraterritoriales"),
}
_APPROACH = Attribute("prospects", "approach")
_BAND = Attribute("accounts", "headcount_band")
_VALUES_FR = {"regime": _WORDS_FR}
_MONTHS = {
    "en": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    "fr": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
}
_WEEKDAYS = {
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "fr": ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"],
}
_PARTS = {"month": ("month", "mois"), "weekday": ("weekday", "jour"), "hour": ("hour", "heure")}
_VALUE_OPERATIONS = {  # of an aggregate: "total value 12"
    "sum": ("total value", "valeur totale"),
    "mean": ("average value", "valeur moyenne"),
    "min": ("smallest value", "plus petite valeur"),
    "max": ("largest value", "plus grande valeur"),
    "last": ("latest value", "dernière valeur"),
}


@dataclass(frozen=True)
class _Words:
    """One language: every phrase that is put together below."""

    code: Language
    colon: str
    decimal: str
    thousands: str
    unknown: str
    yes: str
    no: str
    other: str
    none: str
    none_known: str
    ever: str
    account: str
    events: str
    outcome: str
    outcomes: str
    open: str
    now: str


_EN = _Words(
    code="en",
    colon=": ",
    decimal=".",
    thousands=",",
    unknown="unknown",
    yes="yes",
    no="no",
    other="rare or new value",
    none="none",
    none_known="none known",
    ever="so far",
    account="whole account",
    events="events",
    outcome="outcome",
    outcomes="outcomes",
    open="other open prospects of the account",
    now="time of scoring",
)
_FR = _Words(
    code="fr",
    colon=" : ",
    decimal=",",
    thousands="\u202f",
    unknown="inconnu",
    yes="oui",
    no="non",
    other="valeur rare ou nouvelle",
    none="aucun",
    none_known="aucun connu",
    ever="à ce jour",
    account="tout le compte",
    events="événements",
    outcome="résultat",
    outcomes="résultats",
    open="autres prospects ouverts du compte",
    now="moment du score",
)
_LANGUAGES: Mapping[str, _Words] = {"en": _EN, "fr": _FR}


def label(feature: Feature, value: Any, language: str = "en", *, kind: str | None = None, other: bool = False) -> str:
    """What a feature with this value says about a prospect, in words.

    Args:
        feature: its definition.
        value: its raw value: None (missing), a number or a text.
        language: ``en`` or ``fr``; another raises BadInput ``unknown_language``.
        kind: what the feature yields (``FeatureSet.kind``); tells a declared boolean from a number.
        other: the value is a level that the model has no code of its own for.
    """
    words = _LANGUAGES.get(language)
    if words is None:
        raise BadInput(
            "unknown_language",
            f"there are no reasons in the language {language!r}.",
            where="language",
            remedy=f"Use one of: {', '.join(LANGUAGES)}.",
        )
    if value is not None and value != value:
        value = None  # NaN, as tables give a missing number
    if isinstance(feature, Attribute):
        return f"{_noun(feature, words)}{words.colon}{_attribute_value(feature, value, words, kind, other)}"
    if isinstance(feature, Aggregate):
        return f"{_subject(feature, words)}{words.colon}{_aggregate_value(feature, value, words)}"
    return f"{_expression_noun(feature, words)}{words.colon}{_expression_value(feature, value, words, other)}"


def human(text: str) -> str:
    """A technical name or level as people write it: underscores are spaces."""
    return " ".join(text.replace("_", " ").split()) or "-"


def _pick(pair: tuple[str, str], words: _Words) -> str:
    return pair[0] if words.code == "en" else pair[1]


def number(value: float, words: _Words = _EN) -> str:
    """A number for people: whole where it is whole, else with about three digits."""
    value = float(value)
    if value == int(value):
        text = f"{int(value):,}"
    elif abs(value) >= 100:
        text = f"{value:,.0f}"
    elif abs(value) >= 0.1:
        text = re.sub(r"\.?0+$", "", f"{value:.2f}")
    else:
        text = f"{value:.2g}"
    return text.replace(",", "\0").replace(".", words.decimal).replace("\0", words.thousands)


def _attribute_value(feature: Attribute, value: Any, words: _Words, kind: str | None, other: bool) -> str:
    if value is None:
        return words.unknown
    if kind is None:
        kind = next((c.kind for c in STANDARD[feature.table] if c.name == feature.column), None)
    if isinstance(value, str):
        text = value
        if feature.table == "prospects" and words.code == "fr":
            text = _VALUES_FR.get(feature.column, {}).get(value, value)
        if feature == _BAND and text in BAND_STAFF:
            text = _staff(text, words)
        else:
            text = text.upper() if feature == _APPROACH and text in APPROACHES else human(text)
        return f"{text} ({words.other})" if other else text
    if kind == "boolean" or isinstance(value, bool):
        return words.yes if value else words.no
    return number(value, words)


def _staff(band: str, words: _Words) -> str:
    """What a headcount band of the register says."""
    low, high = BAND_STAFF[band]
    en = words.code == "en"
    if band == "NN":
        return "no employer" if en else "non employeur"
    if high is None:
        return f"{number(low, words)} {'or more' if en else 'ou plus'}"
    if high == 0:
        return "0 at the end of the year" if en else "0 en fin d'année"
    return f"{number(low, words)} {'to' if en else 'à'} {number(high, words)}"


def _filters(feature: Aggregate, words: _Words) -> str:
    parts = []
    if feature.stage is not None:
        stage = _pick(_STAGES[feature.stage], words)
        parts.append(f"{stage} stage" if words.code == "en" else f"étape {stage}")
    if feature.direction is not None:
        parts.append(feature.direction if words.code == "en" else _WORDS_FR[feature.direction])
    if feature.channel is not None:
        parts.append(human(feature.channel))
    if feature.role is not None:
        parts.append(feature.role if words.code == "en" else _WORDS_FR[feature.role])
    if feature.rank is not None:
        parts.append(feature.rank if words.code == "en" else _WORDS_FR[feature.rank])
    if feature.scope == "account":
        parts.append(words.account)
    return f" ({', '.join(parts)})" if parts else ""


def _subject(feature: Aggregate, words: _Words) -> str:
    if feature.table == "prospects":
        return words.open
    if feature.table == "outcomes":
        return _outcome(feature, words) + _filters(feature, words)
    return (words.events if feature.type is None else human(feature.type)) + _filters(feature, words)


def _outcome(feature: Aggregate, words: _Words) -> str:
    if feature.type is None:
        return words.outcomes
    kind = human(feature.type)
    return f"{words.outcome} {kind if words.code == 'en' else _WORDS_FR.get(kind, kind)}"


def _window(feature: Aggregate, words: _Words) -> str:
    days = feature.days
    if days is None:
        return ""
    if words.code == "en":
        return "in the last day" if days == 1 else f"in the last {number(days, words)} days"
    return "au cours du dernier jour" if days == 1 else f"au cours des {number(days, words)} derniers jours"


def _aggregate_value(feature: Aggregate, value: Any, words: _Words) -> str:
    window = _window(feature, words)
    within = window or words.ever
    en = words.code == "en"
    match feature.operation:
        case "count":
            if value is None:
                return f"{'number unknown' if en else 'nombre inconnu'} {within}"
            return f"{number(value, words) if value else words.none} {within}"
        case "distinct_contacts":
            if value is None:
                return f"{'number of contacts unknown' if en else 'nombre de contacts inconnu'} {within}"
            if value == 0:
                return f"{'no contact' if en else 'aucun contact'} {within}"
            if value == 1:
                return f"1 contact {within}"
            return f"{number(value, words)} {'different contacts' if en else 'contacts différents'} {within}"
        case "distinct_roles":
            if value is None:
                return f"{'number of roles unknown' if en else 'nombre de rôles inconnu'} {within}"
            if value == 0:
                return f"{'no role' if en else 'aucun rôle'} {within}"
            if value == 1:
                return f"{'1 role' if en else '1 rôle'} {within}"
            return f"{number(value, words)} {'different roles' if en else 'rôles différents'} {within}"
        case "top_contact_share":
            if value is None:
                return f"{'no known contact' if en else 'aucun contact connu'} {within}"
            percent = number(round(100 * value, 1), words)
            return f"{percent}% by a single contact {within}" if en else f"{percent} % d'un seul contact {within}"
        case "open":
            return words.unknown if value is None else number(value, words) if value else words.none
        case "share":
            if value is None:
                return f"{'share of all events unknown' if en else 'part des événements inconnue'} {within}"
            percent = number(round(100 * value, 1), words)
            return f"{percent}% of all events {within}" if en else f"{percent} % des événements {within}"
        case "days_since_first" | "days_since_last":
            if value is None:
                return f"{words.none_known} {within}"
            first = feature.operation == "days_since_first"
            if en:
                what = ("first" if first else "last") + (f" {window}" if window else "")
                return f"the {what} was {_ago(value, words)}"
            what = ("premier" if first else "dernier") + (f" {window}" if window else "")
            return f"le {what} a eu lieu {_ago(value, words)}"
        case operation:
            name = _pick(_VALUE_OPERATIONS[operation], words)
            if value is None:
                return f"{name} {'unknown' if en else 'inconnue'} {within}"
            return f"{name} {number(value, words)} {within}"


def _ago(days: float, words: _Words) -> str:
    """A number of days before t as a phrase; a negative one lies ahead."""
    length = _length(abs(days), words)
    if days >= 0:
        return f"{length} ago" if words.code == "en" else f"il y a {length}"
    return f"in {length}" if words.code == "en" else f"dans {length}"


def _length(days: float, words: _Words) -> str:
    en = words.code == "en"
    if days < 1:
        return "less than a day" if en else "moins d'un jour"
    if days < 120:
        count, one, many = int(days), *(("day", "days") if en else ("jour", "jours"))
    elif days < 730.5:
        count, one, many = int(days / 30.4375), *(("month", "months") if en else ("mois", "mois"))
    else:
        count, one, many = int(days / 365.25), *(("year", "years") if en else ("an", "ans"))
    return f"{number(count, words)} {one if count == 1 else many}"


def _noun(feature: Feature, words: _Words) -> str:
    """The feature itself, without a value, for use inside a phrase."""
    if isinstance(feature, Attribute):
        standard = _COLUMNS.get(feature.column)
        known = any(c.name == feature.column for c in STANDARD[feature.table])
        return _pick(standard, words) if known and standard else human(feature.column)
    if isinstance(feature, Aggregate):
        return _aggregate_noun(feature, words)
    return _expression_noun(feature, words)


_AGGREGATE_NOUNS = {
    "count": ("number of {}", "nombre d'{}"),
    "distinct_contacts": ("different contacts in {}", "contacts différents dans les {}"),
    "distinct_roles": ("different roles in {}", "rôles différents dans les {}"),
    "top_contact_share": ("share of the most active contact in {}", "part du contact le plus actif dans les {}"),
    "share": ("share of {}", "part des {}"),
    "days_since_first": ("days since the first of {}", "jours depuis le premier des {}"),
    "days_since_last": ("days since the last of {}", "jours depuis le dernier des {}"),
    "sum": ("total value of {}", "valeur totale des {}"),
    "mean": ("average value of {}", "valeur moyenne des {}"),
    "min": ("smallest value of {}", "plus petite valeur des {}"),
    "max": ("largest value of {}", "plus grande valeur des {}"),
    "last": ("latest value of {}", "dernière valeur des {}"),
}


def _aggregate_noun(feature: Aggregate, words: _Words) -> str:
    if feature.table == "prospects":
        return words.open
    events = words.events if feature.table == "events" else words.outcomes
    if feature.type is not None:
        kind = human(feature.type)
        events += f" “{kind}”" if words.code == "en" else f" « {kind} »"
    noun = _pick(_AGGREGATE_NOUNS[feature.operation], words).format(events + _filters(feature, words))
    noun = noun.replace("d'résultats", "de résultats")
    window = _window(feature, words)
    return f"{noun} {window}" if window else noun


def _nested_windows(feature: Expression) -> tuple[Aggregate, Aggregate] | None:
    """The two counts of a ratio that says how much of a longer window lies in a shorter one, else None."""
    if feature.operation != "ratio":
        return None
    inner, outer = feature.arguments
    if not isinstance(inner, Aggregate) or not isinstance(outer, Aggregate) or inner.operation != "count":
        return None
    if replace(inner, days=None) != replace(outer, days=None) or inner.days is None:
        return None
    return (inner, outer) if outer.days is None or inner.days < outer.days else None


def _expression_noun(feature: Expression, words: _Words) -> str:
    nested = _nested_windows(feature)
    if nested:
        return _subject(nested[0], words)
    back = _regression(feature)
    if back is not None:
        noun = "return to an earlier stage" if words.code == "en" else "retour à une étape antérieure"
        return noun + _filters(back, words)
    nouns = [_noun(a, words) for a in feature.arguments]
    en = words.code == "en"
    match feature.operation:
        case "reached" | "last_known" | "latest":
            stage = by_stage(feature.arguments)
            noun = _pick((_BY_STAGE if stage else _POSITIONS)[feature.operation], words)
            usual = "days_since_last" if feature.operation == "latest" else "days_since_first"
            if stage is None:
                return f"{noun} {', '.join(nouns)}"
            if stage.operation == usual and stage.type is None and stage.days is None:
                return noun + _filters(stage, words)
            return f"{noun} ({_noun(stage, words)})"
        case "naf":
            return f"{nouns[0]} ({_pick(_NAF_PARTS[feature.part or ''], words)})"
        case "band_order":
            return f"{nouns[0]} ({'in order' if en else 'en rang'})"
        case "size_conflict":
            return f"{nouns[0]} {'against the own headcount' if en else 'et effectif propre'}"
        case "regime":
            return f"{nouns[0]} {'(given or inferred)' if en else '(donné ou déduit)'}"
        case "ratio":
            return f"ratio of {nouns[0]} to {nouns[1]}" if en else f"rapport entre {nouns[0]} et {nouns[1]}"
        case "difference":
            return f"{nouns[0]} minus {nouns[1]}" if en else f"{nouns[0]} moins {nouns[1]}"
        case "calendar":
            return f"{nouns[0] if nouns else words.now} ({_pick(_PARTS[feature.part or ''], words)})"
        case _:
            return nouns[0]


_BY_STAGE = {
    "reached": ("buying stage reached", "étape d'achat atteinte"),
    "last_known": ("entry into the buying stage reached", "entrée dans l'étape d'achat atteinte"),
    "latest": ("buying stage of the latest event", "étape d'achat du dernier événement"),
}
_POSITIONS = {
    "reached": ("last that is known of", "dernier connu parmi"),
    "last_known": ("value of the last that is known of", "valeur du dernier connu parmi"),
    "latest": ("smallest of", "plus petit parmi"),
}


def _regression(feature: Expression) -> Aggregate | None:
    """Of the stage reached less the stage of the latest event: the events that are looked at; else None."""
    if feature.operation != "difference":
        return None
    reached, latest = feature.arguments
    if not isinstance(reached, Expression) or not isinstance(latest, Expression):
        return None
    first, last = by_stage(reached.arguments), by_stage(latest.arguments)
    if (reached.operation, latest.operation) != ("reached", "latest") or first is None or last is None:
        return None
    if last.operation != "days_since_last" or replace(first, operation=last.operation) != last:
        return None
    return first


def _position(feature: Expression, value: float, words: _Words) -> str:
    """A position among the arguments by the name of what stands there."""
    place = int(value)
    if not 1 <= place <= len(feature.arguments):
        return words.none
    argument = feature.arguments[place - 1]
    if by_stage(feature.arguments) is None or not isinstance(argument, Aggregate):
        return _noun(argument, words)
    return _pick(_STAGES[argument.stage or ""], words)


def _category(feature: Expression, value: str, words: _Words, other: bool) -> str:
    """The text that an expression yields."""
    if feature.operation == "naf":
        text = _pick(_SECTIONS[value], words) if feature.part == "section" and value in _SECTIONS else human(value)
    else:
        text = human(value) if words.code == "en" else _WORDS_FR.get(value, human(value))
    return f"{text} ({words.other})" if other else text


def _expression_value(feature: Expression, value: Any, words: _Words, other: bool) -> str:
    en = words.code == "en"
    if isinstance(value, str):
        return _category(feature, value, words, other)
    nested = _nested_windows(feature)
    if nested:
        inner, outer = (_window(a, words) or words.ever for a in nested)
        if value is None:
            return f"{words.none_known} {outer}"
        percent = number(round(100 * value, 1), words)
        return f"{percent}% of those {outer} came {inner}" if en else f"{percent} % de ceux {outer} sont venus {inner}"
    if value is None:
        return words.unknown
    if _regression(feature) is not None:
        back = round(value)
        if back <= 0:
            return words.no
        stages = ("stage" if back == 1 else "stages") if en else ("étape" if back == 1 else "étapes")
        return f"{words.yes}, {'by' if en else 'de'} {back} {stages}"
    match feature.operation:
        case "reached" | "latest":
            return _position(feature, value, words)
        case "last_known":
            stage = by_stage(feature.arguments)
            days = stage is not None and stage.operation.startswith("days_since")
            return _ago(value, words) if days else number(value, words)
        case "band_order":
            bands = [*BAND_STAFF]
            return _staff(bands[int(value)], words) if value in range(len(bands)) else number(value, words)
        case "size_conflict":
            return ("in conflict" if en else "en conflit") if value else ("in agreement" if en else "concordant")
        case "age":
            return _ago(value, words)
        case "days_until":
            return _ago(-value, words)
        case "calendar":
            if feature.part == "month":
                return _MONTHS[words.code][int(value) - 1]
            if feature.part == "weekday":
                return _WEEKDAYS[words.code][int(value)]
            return f"{int(value):02d}:00 UTC" if en else f"{int(value)} h UTC"
        case "band":
            return _band(feature.cuts, int(value), words)
        case _:
            return number(value, words)


def _band(cuts: tuple[float, ...], index: int, words: _Words) -> str:
    en = words.code == "en"
    if index <= 0:
        return f"{'below' if en else 'moins de'} {number(cuts[0], words)}"
    low = number(cuts[min(index, len(cuts)) - 1], words)
    if index >= len(cuts):
        return f"{low} or more" if en else f"{low} ou plus"
    high = number(cuts[index], words)
    return f"from {low} to below {high}" if en else f"de {low} à moins de {high}"
