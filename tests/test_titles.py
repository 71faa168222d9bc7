"""Job titles as they stand in CRMs, read by a table that was written without them.

The two lists are held out: a title that led to a change of the table leaves its list for another of its kind.
"""

from __future__ import annotations

import pytest

from features import titles
from features.contract import ROLES
from features.titles import DEPARTMENTS, RANKS, TABLE, UNKNOWN, Title, buying_role, read_title

# Each line: title | role | rank, or "?" where the title leaves the rank open.
FRENCH = """
    Responsable des achats indirects | buyer | head
    Acheteuse projets | buyer | staff
    Directeur Achats Groupe | buyer | executive
    Acheteur industriel senior | buyer | staff
    Chargée d'approvisionnement | buyer | staff
    Resp. Achats & Logistique | buyer | head
    Gestionnaire marchés publics | buyer | staff
    Cheffe du service commande publique | buyer | head
    Gérante | buyer | executive
    Président-directeur général | buyer | executive
    P.D.G. | buyer | executive
    Dirigeant fondateur | buyer | executive
    Directrice générale adjointe | buyer | executive
    Associé-gérant | buyer | executive
    Directrice administrative et financière | buyer | executive
    Responsable du contrôle de gestion | buyer | head
    Maire de la commune | buyer | executive
    Directeur général des services | buyer | executive
    Adjointe au maire déléguée aux travaux | buyer | executive
    Artisan menuisier | buyer | ?
    Directeur des systèmes d'information | prescriber | executive
    R.S.S.I. | prescriber | head
    Ingénieure bureau d'études | prescriber | staff
    Responsable BE mécanique | prescriber | head
    Architecte DPLG | prescriber | staff
    Maître d'œuvre | prescriber | ?
    Économiste de la construction | prescriber | staff
    Responsable qualité | prescriber | head
    Coordinatrice HSE | prescriber | staff
    Dir. technique adjoint | prescriber | executive
    Directrice R&D | prescriber | executive
    Dessinateur-projeteur | prescriber | staff
    Consultant indépendant en organisation | prescriber | ?
    Chargé d'opérations maîtrise d'ouvrage | prescriber | staff
    Architecte logiciel | prescriber | staff
    Médecin coordonnateur | prescriber | ?
    Ing. méthodes process | prescriber | staff
    Responsable informatique | prescriber | head
    Administrateur réseaux | prescriber | staff
    Directeur de la recherche clinique | prescriber | executive
    Technicien de maintenance | user | staff
    Opératrice de saisie | user | staff
    Chef d'atelier | user | head
    Resp. de production | user | head
    Infirmière libérale | user | ?
    Aide-soignante | user | staff
    Professeure des écoles | user | staff
    Commerciale grands comptes | user | staff
    Attachée commerciale | user | staff
    Directeur commercial France | user | executive
    Assistante de direction | user | staff
    Secrétaire médicale | user | staff
    Conducteur de travaux | user | ?
    Chauffeur poids lourd | user | staff
    Magasinier cariste | user | staff
    Chargé·e de communication | user | staff
    Directrice des ressources humaines | user | executive
    Comptable fournisseurs | user | staff
    Chef d'équipe logistique | user | head
    Téléconseiller(ère) | user | staff
"""
ENGLISH = """
    Purchasing Manager | buyer | head
    Senior Buyer | buyer | staff
    Director of Strategic Sourcing | buyer | executive
    Chief Procurement Officer | buyer | executive
    Sr. Mgr., Procurement Operations | buyer | head
    VP Supply & Purchasing | buyer | executive
    Head of Indirect Procurement | buyer | head
    Purchasing Agent | buyer | staff
    Category Buyer - IT Hardware | buyer | staff
    Owner/Operator | buyer | executive
    Founder & CEO | buyer | executive
    Co-Founder | buyer | executive
    Managing Director, UK & Ireland | buyer | executive
    President | buyer | executive
    Group CFO | buyer | executive
    Finance Director | buyer | executive
    Financial Controller | buyer | head
    VP of Finance | buyer | executive
    Managing Partner | buyer | executive
    Deputy Mayor | buyer | executive
    CTO | prescriber | executive
    Chief Information Security Officer | prescriber | executive
    I.T. Manager | prescriber | head
    Solutions Architect | prescriber | staff
    Sr. Software Engineer | prescriber | staff
    Mechanical Design Engineer | prescriber | staff
    QA Mgr | prescriber | head
    R&D Director | prescriber | executive
    Principal Consultant | prescriber | ?
    Head of Engineering | prescriber | head
    Network Administrator | prescriber | staff
    Technical Director | prescriber | executive
    Process Engineer | prescriber | staff
    Product Manager | prescriber | ?
    Enterprise Architect | prescriber | staff
    Health & Safety Advisor | prescriber | ?
    Civil Engineering Lead | prescriber | ?
    Director of Information Technology | prescriber | executive
    Landscape Architect | prescriber | staff
    Scientist III, Analytical Development | prescriber | staff
    Sales Representative | user | staff
    Regional Sales Manager | user | head
    Account Executive | user | staff
    Executive Assistant to the CEO | user | staff
    Office Administrator | user | staff
    Warehouse Supervisor | user | head
    Production Operator | user | staff
    Maintenance Technician | user | staff
    Registered Nurse | user | staff
    High School Teacher | user | staff
    Customer Service Representative | user | staff
    Marketing Coordinator | user | staff
    HR Generalist | user | ?
    Forklift Driver | user | staff
    Operations Manager | user | head
    Staff Accountant | user | staff
    VP Marketing | user | executive
    Lab Technician | user | staff
    Dispatcher | user | staff
    Receptionist | user | staff
"""


def _cases(text: str) -> list[tuple[str, str, str]]:
    found = [tuple(part.strip() for part in line.split("|")) for line in text.strip().splitlines()]
    assert len(found) == len(set(found)) == 60
    return [(title, role, rank) for title, role, rank in found]


@pytest.mark.parametrize(("title", "role", "rank"), [*_cases(FRENCH), *_cases(ENGLISH)])
def test_a_title_tells_of_its_role_and_rank(title: str, role: str, rank: str) -> None:
    found = read_title(title)
    assert (found.role, found.rank if rank != "?" else rank) == (role, rank)


NOTHING = """
    - | N/A | n.a. | ? | 0 | Foo | xyz | Rockstar | Monsieur | Mrs | Unknown | Non renseigné | 12345 | 購買 | Itinérant
    jean.dupont@example.com | Thé | Saleswise | Ex-directeur des achats | Former CEO | Retired | Étudiante en achats
"""


@pytest.mark.parametrize("title", [None, "", " ", "\0", *(t.strip() for t in NOTHING.replace("\n", "|").split("|"))])
def test_a_title_that_tells_nothing_is_unknown(title: str | None) -> None:
    assert read_title(title) == UNKNOWN


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        (
            ["Directeur·rice achats", "DIRECTEUR/TRICE ACHATS", "directeur(trice) des achats (H/F)", "Dir. Achats"],
            Title("buyer", "executive", "purchasing"),
        ),
        (
            ["Acheteur", "acheteuse", "Acheteur/euse", "acheteur.euse", "Acheteur(se)", "ACHETEURS", "Acheteur F/H"],
            Title("buyer", "staff", "purchasing"),
        ),
        (
            ["Ingénieur méthodes", "ingénieure méthode", "Inge\u0301nieur·e me\u0301thodes", "Ing. Methodes"],
            Title("prescriber", "staff", "engineering"),
        ),
        (["DSI", "D.S.I.", "dsi", "D. S. I."], Title("prescriber", "executive", "it")),
        (["R&D Manager", "Responsable R & D", "Resp. R et D"], Title("prescriber", "head", "engineering")),
        (["Chargé d'affaires", "Chargée d’affaires", "charge(e) d'affaires"], Title("user", "staff", "sales")),
    ],
)
def test_the_same_title_is_read_alike_however_it_is_written(variants: list[str], expected: Title) -> None:
    assert {v: read_title(v) for v in variants} == dict.fromkeys(variants, expected)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        # What follows `at` is a firm.
        ("Nurse at Procurement Services Ltd", Title("user", "staff", "health")),
        ("CEO @ Quality Consulting", Title("buyer", "executive", "general_management")),
        # The longer phrase wins, and a word counts once.
        ("Project Manager", Title("prescriber", "staff", None)),
        ("Media Manager", Title("user", "head", "marketing")),
        # Who helps does not play the part of whom they help, but in purchasing.
        ("Assistant to the CFO", Title("user", "staff", "finance")),
        ("Assistante achats", Title("buyer", "staff", "purchasing")),
        # A field says more of the department than a trade, and less of the role.
        ("Ingénieur de production", Title("prescriber", "staff", "operations")),
        ("Technicien qualité", Title("user", "staff", "quality")),
        ("Consultante RH", Title("prescriber", None, "hr")),
        ("Ingénieur achats", Title("buyer", "staff", "purchasing")),
        # Who leads finance buys, who works in it uses.
        ("Responsable financier", Title("buyer", "head", "finance")),
        ("Comptable", Title("user", "staff", "finance")),
        ("Finance", Title(None, None, "finance")),
        # Only the bare director stands for the whole firm.
        ("Director", Title("buyer", "executive", "general_management")),
        ("Director of Xyz", Title(None, "executive", None)),
        ("Manager", Title(None, "head", None)),
    ],
)
def test_rules_apply_in_their_order(title: str, expected: Title) -> None:
    assert read_title(title) == expected


def test_a_given_role_is_never_overridden() -> None:
    for role in ROLES:
        assert buying_role({"role": role, "job_title": "Acheteuse"}) == role
    assert buying_role({"role": None, "job_title": "Acheteuse"}) == "buyer"
    assert buying_role({"job_title": "Rockstar"}) is None
    assert buying_role({"job_title": None}) is None
    assert buying_role({}) is None


def test_the_table_is_sound() -> None:
    """Every line names a known role, rank and department; no phrase stands twice or holds a word that is dropped."""
    seen: dict[tuple[bool, tuple[str, ...]], str] = {}
    for lines in TABLE.values():
        for line in lines.strip().splitlines():
            if "|" in line:
                head, _, line = line.partition("|")
                role, rank, department = head.split()
                assert role in (*ROLES, "-")
                assert rank in (*RANKS, "-")
                assert department in (*DEPARTMENTS, "-")
            for phrase in filter(None, map(str.strip, line.split(","))):
                words = phrase.strip("[]").split()
                folded = tuple(titles._words(phrase.strip("[]")))
                assert len(folded) == len(words), phrase
                assert (phrase[0] == "[", folded) not in seen, (phrase, seen[phrase[0] == "[", folded])
                seen[phrase[0] == "[", folded] = phrase
    assert set(titles._DEPARTMENT_ORDER) == set(TABLE)
    assert len(seen) > 900


def test_a_long_title_is_read_at_its_beginning_and_quickly() -> None:
    assert read_title("Acheteuse " + "de tout " * 100_000).role == "buyer"
    assert read_title("(" * 100_000) == UNKNOWN
