"""The gender of what is counted, as far as the noun after a number tells it."""

import re
from functools import cache

_FEMININE_ENDS = {
    "es": r"(?:as?|ción|ciones|dad|dades|sión|siones|tud|eza|ez|veces)\Z",
    "it": r"(?:a|zione|sione|tà|trice|udine|ie)\Z",
    "de": r"(?:e|ung|heit|keit|ion|tät|schaft|ei|ik|ur|anz|enz)\Z",
    "fr": r"(?:[ts]ion|té|ette|elle|ière|ance|ence|esse|euse|rice|ure|ade|ée|ille|enne|onne)s?\Z",
}
_FEMININE = {
    "es": "mano foto moto radio noche tarde parte calle clase gente llave nube nave torre leche sangre mujer flor "
    "sal vez ley red luz voz imagen",
    "it": "mano foto moto radio notte parte classe chiave nave gente carne neve voce luce pace legge rete stazione "
    "volte mogli madre moglie",
    "de": "Frau Person Stadt Nacht Hand Bank Tür Uhr Mutter Tochter Schwester Firma Nummer Million Milliarde Art Zahl "
    "Antwort Arbeit Fahrt Figur Form Geburt Insel Kraft Kuh Luft Maus Regel Schuld Tat Welt Wahl Wand Wurst Zeit",
    "fr": "heure minute seconde semaine année journée soirée personne femme fille page table chambre pièce fois place "
    "ville chose partie ligne question réponse langue lettre voiture maison route rue école classe étoile goutte "
    "bouteille tasse tonne bière pomme photo vidéo note étape équipe image idée lampe porte fenêtre main tête jambe "
    "île plage fleur couleur valeur heures livre carte liste adresse branche copie série version mesure tranche "
    "cuillère cuillerée feuille boîte plante bombe salle sorte façon raison saison nuit mère sœur vache poule caisse "
    "chaise clé dent forme force histoire marche mort nation pierre règle robe roue selle source taille tour vague vie",
}
_NOT = {
    "es": "día mapa problema tema sistema programa idioma planeta clima poema drama gas mes país autobús más menos "
    "para hasta contra cada",
    "it": "problema tema sistema programma clima poema dramma poeta pianeta cinema delta alla della dalla nella sulla",
    "de": "Name Junge Kunde Kollege Löwe Affe Hase Gedanke Käse Buchstabe Zeuge Experte Ende Auge Interesse Gebäude "
    "Gemüse Gebirge Erbe Knie",
    "fr": "comité été côté traité pâté musée lycée trophée silence",
}
_SHORTEST = 3
"""Letters of a noun; shorter words are prepositions."""
_PLURAL = re.compile(r"s\Z")


@cache
def _listed(language: str) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(_FEMININE[language].split()), frozenset(_NOT[language].split())


_ENDS = {language: re.compile(ends) for language, ends in _FEMININE_ENDS.items()}


def gender_of(language: str, noun: str) -> str:
    """Guess it: m, f, n, or empty where it does not matter or the word is no noun."""
    if language not in _FEMININE or (language == "de" and not noun[0].isupper()):
        return ""
    if len(noun) < _SHORTEST:
        return ""
    feminine, others = _listed(language)
    forms = {noun, _PLURAL.sub("", noun), re.sub(r"es\Z", "", noun)}
    if language == "de":
        forms = {noun, re.sub(r"en\Z|n\Z", "", noun)}
    if forms & others:
        return "n" if language == "de" else "m"
    if forms & feminine or _ENDS[language].search(noun):
        return "f"
    return "n" if language == "de" else "m"
