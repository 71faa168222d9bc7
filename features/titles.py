"""Job titles, English and French, read as the part that a person plays in a purchase: a table and how it is applied.

A *buyer* signs or negotiates: purchasing, those who lead finance and administration, general management, owners. A
*prescriber* recommends or specifies: engineering, IT, design offices, quality, research, consultants, physicians. A
*user* works with what is bought: operations, sales, marketing, people who assist, nurse, teach, drive, repair.

How a title is read, in this order:

1. It is folded: small letters without accents, inclusive endings (``Directeur·rice``, ``charge(e)``), ``H/F`` and
   dots within abbreviations (``D.S.I.``) taken away; what follows ``at``, ``chez`` or ``@`` is the firm's name, not the
   person's part. Words that only bind (``de``, ``of``) or grade (``senior``) are dropped, abbreviations written out
   (``resp.``), feminine and plural endings removed from the words of the title and of the table alike.
2. A title of someone who is not in office (``ex``, ``retired``, ``student``) is unknown.
3. Phrases of the table are looked for, the longest first, then the leftmost. Each word counts once: in
   ``project manager`` there is no ``manager`` left to lead anything.
4. The *role* is that of the first section of ``TABLE`` with a phrase found that has a role; within a section the longer
   phrase wins, then the leftmost. The *department* goes by ``_DEPARTMENT_ORDER`` instead: a field of work
   (``ingenieur achats``) says more than a trade. The *rank* is that of an assistant where there is one, else the
   highest that any phrase gives.
5. Finance and administration: who leads them buys, who works in them uses.

Nothing is guessed: a title that meets no phrase is unknown in all three, and a given role is never overridden.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from features.remembered import remembered

RANKS = ("executive", "head", "staff")
DEPARTMENTS = (
    "purchasing",
    "finance",
    "general_management",
    "it",
    "engineering",
    "quality",
    "operations",
    "sales",
    "marketing",
    "hr",
    "legal",
    "administration",
    "health",
    "education",
    "consulting",
)


class Title(NamedTuple):
    """What a job title says; None is unknown."""

    role: str | None
    rank: str | None
    department: str | None


UNKNOWN = Title(None, None, None)

# Each section: lines of role, rank, department ("-" says nothing of it), and phrases parted by commas.
# A phrase in [brackets] holds only where it is the whole title.
TABLE: Mapping[str, str] = {
    # Who helps another does not play that other's part, except in purchasing.
    "helpers": """
        user staff - | assistant, secretariat, secretaire, secretary, stagiaire, intern, apprenti, apprentice,
            alternant, trainee, pa, personal assistant, aide, helper, graduate trainee
        user staff administration | assistant direction, secretaire direction, executive assistant, ea,
            administrative assistant, assistant administratif, office assistant, secretaire mairie,
            assistant administratif financier
        user staff operations | assistant manager, assistant exploitation
        user staff health | aide soignant, assistant social, nursing assistant, assistant dentaire, assistant medical,
            secretaire medical, healthcare assistant, care assistant, aide domicile, auxiliaire vie
        user staff education | assistant professor, teaching assistant, aide educateur
        buyer staff purchasing | assistant achat, assistant acheteur, purchasing assistant, procurement assistant,
            buying assistant, assistant buyer, assistant purchasing, assistant procurement,
            assistant approvisionnement, stagiaire achat, alternant achat, apprenti acheteur, trainee buyer,
            secretaire achat
    """,
    # Who stands for the whole firm or for a whole function.
    "chiefs": """
        buyer executive general_management | ceo, pdg, dg, dga, dgd, gm, md, president, chairman, chairwoman,
            chairperson, chair, owner, co owner, business owner, proprietaire, founder, co founder, cofounder,
            fondateur, co fondateur, cofondateur, gerant, co gerant, cogerant, dirigeant, chef entreprise,
            managing director, general manager, directeur general, director general, executive director,
            directeur executif, chief executive, chief executive officer, managing partner, founding partner, partner,
            associe, patron, entrepreneur, auto entrepreneur, artisan, commercant, exploitant agricole, agriculteur,
            farmer, franchise, company director, board member, board director, non executive director,
            membre conseil administration, administrateur societe, shareholder, maire, mayor, bourgmestre,
            adjoint maire, elu, dgs, directeur general service, secretaire general, secretary general,
            general secretary, directeur cabinet, president directeur general, sole trader, self employed,
            principal associe, directeur societe, conseiller municipal, councillor, town clerk, city manager
        buyer executive general_management | [directeur], [director], [vice president], [vp], [directeur adjoint],
            [direction], [executive], [c level], [independant], [freelance]
        buyer head general_management | directeur agence, branch manager, headteacher, head teacher, headmaster,
            headmistress, school principal, proviseur, directeur ecole, principal college, dean, doyen,
            directeur etablissement, practice manager, directeur ehpad
        buyer - general_management | cse, comite entreprise, comite social economique, works council
        buyer executive finance | cfo, daf, chief financial officer, chief finance officer
        buyer head finance | raf, tresorier, treasurer, financial controller, finance controller, econome, intendant,
            bursar, credit manager, comptroller, controller
        buyer executive purchasing | chief procurement officer, chief purchasing officer, dha
        prescriber executive it | cio, dsi, dsin, chief information officer, ciso, chief digital officer,
            chief data officer, cdo, directeur systeme information
        prescriber head it | rsi, rssi
        prescriber executive engineering | cto, chief technology officer, chief technical officer,
            directeur service technique, chief scientific officer
        prescriber head engineering | chief engineer, maitre oeuvre
        user executive operations | coo, chief operating officer, chief operation officer
        user executive sales | cro, cso, cco, chief revenue officer, chief sales officer, chief commercial officer,
            dirco
        user executive marketing | cmo, chief marketing officer, dircom
        user executive hr | chro, drh, chief people officer, chief human resource officer
        user head hr | rrh
        prescriber executive legal | clo, general counsel, chief legal officer
        - executive - | cpo, cxo
    """,
    # Who is paid for advice.
    "advisers": """
        prescriber - consulting | consultant, consulting, consultancy, conseil, adviser, advisor, auditeur, auditor,
            expert comptable, commissaire compte, expert, cabinet conseil, amo, assistant maitrise ouvrage
        prescriber staff consulting | conseiller, conseiller technique, technical advisor
        user staff sales | conseiller clientele, conseiller client, conseiller commercial, conseiller vente,
            customer advisor, sales consultant, consultant commercial, sales advisor, beauty consultant
        user staff hr | recruitment consultant, consultant recrutement
    """,
    # Purchasing and selling: the field settles the part, whatever the trade.
    "trade": """
        buyer - purchasing | achat, contract, purchasing, procurement, purchase, buying, sourcing, approvisionnement,
            appro, commande publique, marche public, public procurement, strategic sourcing, category management,
            contracting, supplier, vendor management, tender board
        buyer staff purchasing | acheteur, buyer, purchaser, approvisionneur, procurement officer,
            contracting officer, negociateur, gestionnaire approvisionnement, purchasing agent, procurement specialist
        buyer head purchasing | category manager, contract manager, vendor manager, supplier manager, head buyer,
            chief buyer, lead buyer
        buyer - administration | service generaux, facility, general service, moyen generaux, facility management,
            maitre ouvrage
        buyer head administration | office manager
        user - sales | direction commercial, partnership, partenariat, partner marketing, partner sales,
            partner success, sales, vente, business development, developpement commercial, adv, administration vente,
            customer success, key account, grand compte, inside sales, export, point vente, avant vente, presales,
            pre sales, relation client, service client, customer service, customer care, customer support,
            customer experience, after sales, apres vente, sav, bid, appel offre, developpement affaire
        user staff sales | commercial, technico commercial, vendeur, seller, account manager, key account manager,
            kam, account executive, sales executive, sales engineer, ingenieur commercial, ingenieur affaire,
            charge affaire, business developer, salesperson, salesman, saleswoman, sales representative,
            attache commercial, agent commercial, vrp, sdr, bdr, customer success manager, csm, bid manager,
            negociateur immobilier, charge clientele, teleconseiller, televendeur, call center agent, estate agent,
            agent immobilier, telesales, account director, relationship manager, caissier, cashier, partner manager,
            channel partner manager, responsable affaire, directeur clientele, teleprospecteur, talent sourcer
    """,
    # The trade that a person follows.
    "trades": """
        prescriber staff engineering | ingenieur, engineer, architect, architecte, dessinateur, projeteur,
            draughtsman, draftsman, designer, concepteur, chercheur, researcher, scientist, scientifique, urbaniste,
            geometre, surveyor, quantity surveyor, metreur, deviseur, chiffreur, estimator, economiste construction,
            methodiste, chimiste, chemist, paysagiste, town planner, urban planner, physicist, biologiste, thermicien,
            automaticien, charge etude, inventor
        prescriber staff it | developpeur, developer, programmer, programmeur, dba, devops, administrateur systeme,
            administrateur reseau, administrateur base donnee, system administrator, sysadmin, network administrator,
            integrateur, scrum master, system analyst, analyste programmeur, ux designer, tech lead, business analyst,
            webmaster
        prescriber staff - | chef projet, project manager, product manager, product owner, chef produit, pm, po,
            programme manager, program manager, project leader, pmo, charge projet
        prescriber staff quality | inspecteur, inspector, controleur qualite, qualiticien, metrologist, qa,
            preventeur, preventionniste
        prescriber staff legal | avocat, lawyer, solicitor, juriste, counsel, attorney, notaire, barrister, dpo,
            paralegal
        prescriber executive health | chief medical officer, medical director, directeur medical
        prescriber staff health | medecin, physician, doctor, docteur, surgeon, chirurgien, pharmacien, pharmacist,
            dentist, dentiste, veterinaire, veterinarian, vet, anesthesiste, radiologist, radiologue, cardiologue,
            cardiologist, psychiatre, psychiatrist, specialiste medical, praticien
        user staff it | data analyst, technicien informatique, technicien support, support engineer, helpdesk,
            help desk, service desk, ingenieur support, support technician, technicien helpdesk, it support,
            support informatique, support technique, technical support, support utilisateur, support analyst, hotliner
        user staff operations | technicien, technician, operateur, operator, ouvrier, worker, mecanicien, mechanic,
            electricien, electrician, electromecanicien, plombier, plumber, chauffeur, driver, conducteur, magasinier,
            warehouseman, storekeeper, preparateur, cariste, monteur, soudeur, welder, fitter, usineur, machinist,
            macon, menuisier, joiner, carpenter, cuisinier, cook, serveur, waiter, boulanger, livreur, peintre,
            couvreur, planificateur, planner, planneur, ordonnanceur, dispatcher, scheduler, conducteur travaux,
            chauffagiste, jardinier, gardener, cleaner, gardien, caretaker, janitor, security guard, concierge,
            coiffeur, hairdresser, pilote ligne, steward, installateur, installer, assembler, picker, handler,
            pompier, firefighter, policier, police officer, preparateur commande, agent entretien, agent maitrise,
            assembleur, regleur, tourneur, fraiseur
        user staff operations | chef rang, chef partie
        user head operations | head chef, executive chef, sous chef, chef chantier, chef equipe, chef atelier,
            team leader, foreman, contremaitre, site manager, shift leader, plant manager, factory manager,
            works manager, chef cuisine, chef cuisinier, store manager, restaurant manager, hotel manager,
            fleet manager, chef ligne, chef quart, chef secteur, kitchen manager
        user staff administration | receptionniste, receptionist, standardiste, hote accueil, agent accueil, clerk,
            office clerk, data entry, archiviste, archivist, typist, agent administratif, adjoint administratif,
            traducteur, translator
        - head finance | chief accountant
        - staff finance | comptable, accountant, bookkeeper, controleur gestion, payroll officer, gestionnaire paie,
            financial analyst, analyste financier, caissier principal, credit analyst, management accountant
        user staff marketing | graphiste, graphic designer, redacteur, copywriter, journaliste, journalist, editor,
            community manager, content manager, traffic manager, photographe, photographer, webdesigner, web designer,
            content writer, social media manager, marketing executive, charge communication, videaste, influencer
        user head marketing | redacteur chef, editor chief
        user staff hr | recruteur, recruiter, hr business partner, charge recrutement, talent acquisition
        user staff health | infirmier, nurse, ide, sage femme, midwife, kinesitherapeute, kine, physiotherapist,
            ambulancier, paramedic, caregiver, radiographer, manipulateur radio, ergotherapeute, psychologue,
            psychologist, dieteticien, dietitian, opticien, optician, preparateur pharmacie, soignant, therapist,
            laborantin, educateur specialise, orthophoniste, dental hygienist
        user head health | cadre sante, head nurse, chief nurse, nurse manager, ward manager, cadre infirmier
        user staff education | professeur, professor, teacher, enseignant, lecturer, instituteur, formateur, trainer,
            instructor, maitre conference, educateur, educator, tutor, bibliothecaire, librarian, atsem,
            professeur associe, documentaliste
        - staff - | associate, specialist, specialiste, officer, charge, attache, representative, collaborateur,
            technical specialist
    """,
    # The field that a person works in.
    "fields": """
        prescriber - it | informatique, it, si, ti, systeme information, information technology, information system,
            software, logiciel, digital transformation, transformation digital, numerique, infrastructure,
            cybersecurity, cyber security, cybersecurite, information security, security, reseau, network, cloud,
            data, donnee, devsecops, exploitation informatique
        prescriber - engineering | technique, technical, ingenierie, engineering, bureau etude, etude, be, bet, rd,
            recherche, research, recherche developpement, research development, methode, conception, design,
            innovation, industrialisation, new work, travaux neuf, technologie, technology, process, procede,
            architecture, developpement produit, product development, product, produit, service technique, urbanisme,
            projet, project, maitrise oeuvre, moe, maitrise ouvrage, moa, laboratoire, laboratory, scientific,
            technical service, prescription
        prescriber - quality | qualite, quality, hse, qhse, qse, ehs, hsse, securite, safety, environnement,
            environment, rse, csr, sustainability, developpement durable, amelioration continu,
            continuous improvement, lean, affaire reglementaire, regulatory affair, conformite, compliance,
            quality assurance, assurance qualite, quality control, hygiene, validation, metrologie, prevention
        prescriber - legal | juridique, legal, affaire juridique, contentieux, data protection
        user - operations | production, operation, exploitation, logistique, logistic, supply chain, entrepot,
            warehouse, maintenance, usine, plant, factory, fabrication, manufacturing, atelier, workshop, transport,
            stock, inventory, planning, planification, expedition, shipping, fleet, parc auto, parc materiel, site,
            chantier, travaux, service delivery, distribution, magasin, restauration, catering, housekeeping,
            industriel, industrial, montage, assembly, reception, flux, dispatch, supply, restaurant, hotel, store,
            retail, field service, installation, ordonnancement, intervention
        user - marketing | marketing, communication, brand, marque, product marketing, evenementiel, event, media,
            presse, press, public relation, e commerce, ecommerce, digital, growth, seo, web, content, contenu,
            acquisition, crm, digital marketing, marketing digital, merchandising, publicite, advertising,
            trade marketing
        user - hr | rh, hr, ressource humaine, human resource, paie, payroll, recrutement, recruitment, talent,
            people, formation, training, relation social, personnel, learning development, learning
        user - health | soin, nursing, clinique, clinical, medical, care
        user - education | pedagogique, enseignement, teaching, scolaire, education, academic
        - - finance | finance, financier, financial, comptabilite, accounting, tresorerie, treasury,
            administratif financier, controle gestion, fiscalite, tax, account payable, credit, budget, facturation,
            billing
        - - administration | administratif, administration, office, accueil
        user - sales | compte, account, client, customer, clientele, business, revenue
        - - general_management | direction generale, strategie, strategy
    """,
    # Trades that are found in every field, which then tells more than they do.
    "common": """
        user staff - | analyste, analyst, coordinateur, coordonnateur, coordinator, business partner, animateur,
            agent, gestionnaire, administrator, charge mission, employe
        user staff education | coach, moniteur
    """,
    # Words of rank alone.
    "ranks": """
        - executive - | directeur, director, vice president, vp, svp, evp, avp, chief, executive committee, comex,
            codir, sous directeur
        - staff - | adjoint
        - head - | head, manager, responsable, chef, lead, leader, superviseur, supervisor, cadre, chef service,
            chief staff, management, manageur, encadrant, team lead
    """,
}
_DEPARTMENT_ORDER = ("helpers", "chiefs", "trade", "fields", "advisers", "trades", "common", "ranks")
_LED = {"finance", "administration"}  # who leads these buys, who works in them uses

_ABBREVIATIONS = {
    "resp": "responsable",
    "respons": "responsable",
    "rble": "responsable",
    "dir": "directeur",
    "mgr": "manager",
    "mngr": "manager",
    "mgmt": "management",
    "eng": "engineer",
    "engr": "engineer",
    "ing": "ingenieur",
    "asst": "assistant",
    "assist": "assistant",
    "ass": "assistant",
    "sec": "secretary",
    "pres": "president",
    "exec": "executive",
    "ops": "operations",
    "mktg": "marketing",
    "mkt": "marketing",
    "fin": "finance",
    "compta": "comptabilite",
    "info": "informatique",
    "prod": "production",
    "maint": "maintenance",
    "log": "logistique",
    "qual": "qualite",
    "tech": "technique",
    "dev": "developer",
    "admin": "administratif",
    "adm": "administratif",
    "gen": "general",
    "cial": "commercial",
    "rep": "representative",
    "acct": "account",
    "ach": "achat",
    "purch": "purchasing",
    "proc": "procurement",
    "prof": "professeur",
    "dr": "docteur",
    "techn": "technicien",
    "infra": "infrastructure",
    "coord": "coordinateur",
    "spec": "specialist",
    "gest": "gestionnaire",
    "cheffe": "chef",
    "heads": "head",
}
_DROPPED = """
    de du des d l la le les of the en et and a au aux for in to un une on sur pour with or ou y s senior sr
    junior jr confirme experimente interim interimaire global international national regional group groupe
    europe emea france apac corporate departement department pole deputy associated acting
"""
_ABSENT = """
    ex former formerly ancien ancienne retired retraite retraitee student etudiant etudiante unemployed
    chomeur chomeuse demandeur
"""
_DROPPED_WORDS, _ABSENT_WORDS = frozenset(_DROPPED.split()), frozenset(_ABSENT.split())
_FIRM = re.compile(r"\s(?:at|chez)\s|\s?@\s?")
_INCLUSIVE = re.compile(
    r"(?<=[a-z])(?:\s?\(\s?-?|[·•∙‧./-]|\s/\s?-)"
    r"(?:trice|rice|ice|euse|eure|iere|ere|ienne|enne|onne|ne|sse|se|fe|te|le|ive|ve|re|e)s?\b(?:\s?\))?(?:[·•.-]s\b)?"
)
_SEX = re.compile(r"(?<![a-z])[hfmwdx](?:\s?[/|-]\s?[hfmwdx]){1,2}(?![a-z])")
_DOTTED = re.compile(r"\b(?:[a-z]\.){2,}[a-z]?\b|\b(?:[a-z]\.\s?){2,}")
_WORD = re.compile(r"[a-z0-9]+")
_ENDINGS = (
    ("trice", "teur"),
    ("euse", "eur"),
    ("eure", "eur"),
    ("iere", "ier"),
    ("llere", "ller"),
    ("ienne", "ien"),
    ("ante", "ant"),
    ("ente", "ent"),
    ("ale", "al"),
    ("eaux", "eau"),
    ("aux", "al"),
    ("elle", "el"),
    ("ive", "if"),
    ("ee", "e"),
)
_LONGEST = 200  # letters of a title that are read


def _stem(word: str) -> str:
    if len(word) < 5:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    for ending, stem in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 1:
            return word[: -len(ending)] + stem
    return word


def _words(text: str) -> list[str]:
    """The words of a folded text that count, written out and without endings."""
    found = [_ABBREVIATIONS.get(w, w) for w in _WORD.findall(text)]
    return [_stem(w) for w in found if w not in _DROPPED_WORDS or len(found) == 1]


def _fold(text: str) -> str:
    text = text.replace("œ", "oe").replace("Œ", "oe").replace("’", "'")
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()
    plain = re.sub(r"\br\s?(?:&|et)\s?d\b", " rd ", plain)
    plain = _SEX.sub(" ", plain)
    plain = _DOTTED.sub(lambda m: re.sub(r"[.\s]", "", m[0]) + " ", plain)
    return _INCLUSIVE.sub("", plain)


class _Rule(NamedTuple):
    section: str
    role: str | None
    rank: str | None
    department: str | None


def _read_table() -> dict[tuple[str, ...], _Rule]:
    """The rules by their words; of a phrase that stands twice, the first place counts, and a lone one stands apart."""
    rules: dict[tuple[str, ...], _Rule] = {}
    for section, lines in TABLE.items():
        for line in lines.strip().splitlines():
            if "|" in line:  # the others go on with the phrases of the line before
                head, _, line = line.partition("|")
                role, rank, department = (None if part == "-" else part for part in head.split())
            for phrase in filter(None, map(str.strip, line.split(","))):
                words = tuple(_words(phrase.strip("[]")))
                key = ("", *words) if phrase.startswith("[") else words
                rules.setdefault(key, _Rule(section, role, rank, department))
    return rules


_RULES = _read_table()
_MOST_WORDS = max(len(words) for words in _RULES)
_SECTIONS = tuple(TABLE)


class _Hit(NamedTuple):
    words: int
    start: int
    rule: _Rule


def _hits(words: list[str]) -> list[_Hit]:
    """The phrases found, the longest first, then the leftmost; each word counts once."""
    lone = _RULES.get(("", *words))
    if lone is not None:
        return [_Hit(len(words), 0, lone)]
    found: list[_Hit] = []
    free = [True] * len(words)
    for length in range(min(_MOST_WORDS, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            rule = _RULES.get(tuple(words[start : start + length])) if all(free[start : start + length]) else None
            if rule is not None:
                found.append(_Hit(length, start, rule))
                free[start : start + length] = [False] * length
    return found


def _read(words: list[str]) -> Title:
    hits = _hits(words)

    def first(part: str, order: tuple[str, ...]) -> str | None:
        said = [h for h in hits if getattr(h.rule, part) is not None]
        best = min(said, key=lambda h: (order.index(h.rule.section), -h.words, h.start), default=None)
        return None if best is None else getattr(best.rule, part)

    role = first("role", _SECTIONS)
    department = first("department", _DEPARTMENT_ORDER)
    ranks = {h.rule.rank for h in hits}
    helps = any(h.rule.section == "helpers" for h in hits)
    rank = "staff" if helps else next((r for r in RANKS if r in ranks), None)
    if role is None and department in _LED and rank is not None:
        role = "user" if rank == "staff" else "buyer"
    return Title(role, rank, department)


@remembered(65_536, _LONGEST)
def read_title(title: str | None) -> Title:
    """The role, the rank and the department that a job title tells of; each None where it does not.

    >>> read_title("Resp. achats")
    Title(role='buyer', rank='head', department='purchasing')
    >>> read_title("xyz")
    Title(role=None, rank=None, department=None)
    """
    if not title:
        return UNKNOWN
    folded = f" {_fold(title[:_LONGEST])} "
    if not _ABSENT_WORDS.isdisjoint(_WORD.findall(folded)):
        return UNKNOWN
    person = _read(_words(_FIRM.split(folded, 1)[0]))
    return person if person != UNKNOWN else _read(_words(folded))


def buying_role(row: Mapping[str, Any]) -> str | None:
    """The role of a contact: the given one, else the one that the job title tells of; never overrides a given one."""
    given: str | None = row.get("role")
    return given if given is not None else read_title(row.get("job_title")).role
