"""Word problems of the `arithmetic` dataset: questions, solutions, and the words that vary in them."""

from collections.abc import Mapping

from sftkey_data.datasets._arithmetic_problems import Problem

WORDS: Mapping[str, tuple[str, ...]] = {
    "name": ("Ada", "Bruno", "Chen", "Dalia", "Emil", "Farah", "Goran", "Hana", "Ines", "Jonas", "Keiko", "Luca"),
    "friend": ("Maya", "Nils", "Olga", "Pablo", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Viktor", "Wanda", "Yusuf"),
    "items": ("notebooks", "mugs", "candles", "puzzles", "scarves", "lamps", "plates", "cushions"),
    "extra": ("gift box", "tote bag", "birthday card", "poster", "key ring", "calendar"),
    "sweets": ("cookies", "marbles", "stickers", "chestnuts", "toffees", "seashells"),
    "cakes": ("cakes", "pies", "omelettes", "trays of pancakes", "quiches"),
    "fruit": ("apples", "plums", "cherries", "apricots"),
    "other_fruit": ("pears", "grapes", "peaches", "figs"),
    "plants": ("tomato plants", "tulips", "cabbages", "lettuces", "sunflowers"),
    "ride": ("cycles", "sails", "rides", "paddles"),
    "savings": ("bicycle", "guitar", "camera", "tent", "telescope"),
    "job": ("mows lawns", "paints fences", "walks dogs", "washes windows"),
    "show": ("concert", "play", "puppet show", "film night"),
    "machine": ("printer", "copier", "scanner"),
    "vehicle": ("bus", "train", "ferry", "tram"),
}
"""Word slots and what may stand in them; all nouns for counted things are plural, as all counts are at least 2."""

_SMALL = (2, 12)
_LARGE = (2, None)


def _word(name: str, numbers: Mapping[str, tuple[int, int | None]], question: str, *solution: str) -> Problem:
    return Problem(name=name, kind="word", numbers=numbers, question=question, solution=solution)


WORD_PROBLEMS: tuple[Problem, ...] = (
    _word(
        "shopping",
        {"count": _SMALL, "price": _LARGE, "more": _LARGE},
        "{name} buys {count} {items} at {price} dollars each and a {extra} for {more} dollars. "
        "How many dollars does {name} pay in all?",
        "The {items} cost {count} * {price} = {cost} dollars.",
        "Together with the {extra}, {name} pays {cost} + {more} = {total} dollars.",
    ),
    _word(
        "distance",
        {"hours": _SMALL, "speed": (2, 60), "walk": _LARGE},
        "{name} {ride} for {hours} hours at {speed} kilometres per hour and then walks {walk} kilometres. "
        "How many kilometres does {name} travel in all?",
        "In {hours} hours, {name} covers {speed} * {hours} = {way} kilometres.",
        "Adding the walk gives {way} + {walk} = {total} kilometres.",
    ),
    _word(
        "sharing",
        {"have": _LARGE, "more": _LARGE, "friends": _SMALL},
        "{name} has {have} {sweets} and gets {more} more from {friend}. {name} then shares all of them equally among "
        "{friends} friends. How many {sweets} does each friend get?",
        "{name} now has {have} + {more} = {total} {sweets}.",
        "Each friend gets {total} / {friends} = {share} {sweets}.",
    ),
    _word(
        "ages",
        {"age": (4, 60), "older": (2, 30), "years": (2, 30)},
        "{name} is {age} years old. {friend} is {older} years older than {name}. "
        "How old will {friend} be in {years} years?",
        "{friend} is {age} + {older} = {now} years old now.",
        "In {years} years, {friend} will be {now} + {years} = {then} years old.",
    ),
    _word(
        "rate",
        {"rate": (2, 60), "minutes": (2, 60), "pages": (2, 4000)},
        "A {machine} handles {rate} pages per minute. It has been working on a job of {pages} pages for {minutes} "
        "minutes. How many pages are left?",
        "In {minutes} minutes, the {machine} has handled {rate} * {minutes} = {done} pages.",
        "That leaves {pages} - {done} = {left} pages.",
    ),
    _word(
        "savings",
        {"have": _LARGE, "weekly": (2, 50), "weeks": _SMALL},
        "{name} has {have} dollars and saves {weekly} dollars every week for a {savings}. "
        "How many dollars does {name} have after {weeks} weeks?",
        "In {weeks} weeks, {name} saves {weekly} * {weeks} = {saved} dollars.",
        "With the money from before, that makes {have} + {saved} = {total} dollars.",
    ),
    _word(
        "recipe",
        {"eggs": _SMALL, "batches": (2, 30), "have": (2, 60), "box": _SMALL},
        "{name} uses {eggs} eggs each for {batches} {cakes}. There are {have} eggs at home, and {name} buys the rest "
        "in boxes of {box}. How many boxes does {name} need?",
        "The {cakes} take {eggs} * {batches} = {needed} eggs.",
        "{name} has to buy {needed} - {have} = {missing} eggs.",
        "That is {missing} / {box} = {boxes} boxes.",
    ),
    _word(
        "market",
        {"crates": _SMALL, "price": _LARGE, "baskets": _SMALL, "cheap": _LARGE},
        "At a market, {name} sells {crates} crates of {fruit} at {price} dollars each and {baskets} baskets of "
        "{other_fruit} at {cheap} dollars each. How many dollars does {name} take in?",
        "The {fruit} bring {crates} * {price} = {first} dollars.",
        "The {other_fruit} bring {baskets} * {cheap} = {second} dollars.",
        "Together, that is {first} + {second} = {total} dollars.",
    ),
    _word(
        "change",
        {"count": _SMALL, "price": _LARGE, "off": (2, 40), "paid": _LARGE},
        "{name} buys {count} {items} at {price} dollars each, hands in a voucher worth {off} dollars, and gives the "
        "cashier {paid} dollars. How many dollars does {name} get back?",
        "The {items} cost {count} * {price} = {cost} dollars.",
        "With the voucher, {name} owes {cost} - {off} = {due} dollars.",
        "The change is {paid} - {due} = {back} dollars.",
    ),
    _word(
        "wages",
        {"hours": (2, 10), "days": (2, 7), "wage": (2, 60), "spent": (2, 1000)},
        "{name} {job} for {hours} hours a day on {days} days, earns {wage} dollars per hour, and spends {spent} "
        "dollars of it. How many dollars are left?",
        "{name} works {hours} * {days} = {total} hours.",
        "The pay is {total} * {wage} = {pay} dollars.",
        "After the spending, {pay} - {spent} = {left} dollars are left.",
    ),
    _word(
        "garden",
        {"rows": (2, 20), "plants_each": (2, 40), "given": (2, 60), "beds": _SMALL},
        "{name} grows {rows} rows of {plants_each} {plants}, gives {given} of them to {friend}, and spreads the others "
        "evenly over {beds} beds. How many {plants} are in each bed?",
        "{name} grows {rows} * {plants_each} = {grown} {plants}.",
        "After the gift, {grown} - {given} = {kept} are left.",
        "Each bed holds {kept} / {beds} = {each} {plants}.",
    ),
    _word(
        "passengers",
        {"start": _LARGE, "off": _LARGE, "on": _LARGE, "later": _LARGE},
        "A {vehicle} sets out with {start} passengers. At the first stop, {off} get off and {on} get on. At the second "
        "stop, {later} get off. How many passengers are on the {vehicle} now?",
        "When people have got off at the first stop, {start} - {off} = {fewer} passengers are left.",
        "With the new ones, there are {fewer} + {on} = {more} passengers.",
        "After the second stop, {more} - {later} = {now} passengers are on the {vehicle}.",
    ),
    _word(
        "reading",
        {"pages": (2, 1500), "daily": (2, 60), "days": _SMALL, "rest": _SMALL},
        "{name} reads {daily} pages a day for {days} days. The book has {pages} pages, and {name} wants to read what "
        "is left in {rest} days, the same number of pages each day. How many pages a day is that?",
        "So far, {name} has read {daily} * {days} = {read} pages.",
        "There are {pages} - {read} = {left} pages left.",
        "That is {left} / {rest} = {each} pages a day.",
    ),
    _word(
        "theatre",
        {"rows": (2, 30), "seats": (2, 40), "empty": (2, 60), "price": (2, 80), "rent": (2, 5000)},
        "A hall has {rows} rows of {seats} seats. At a {show}, {empty} seats stay empty. A ticket costs {price} "
        "dollars, and renting the hall costs {rent} dollars. How many dollars of the ticket sales remain?",
        "The hall has {rows} * {seats} = {all_seats} seats.",
        "{all_seats} - {empty} = {sold} tickets are sold.",
        "They bring in {sold} * {price} = {income} dollars.",
        "After the rent, {income} - {rent} = {profit} dollars are left.",
    ),
    _word(
        "bakery",
        {"trays": _SMALL, "rolls": (2, 40), "sheets": _SMALL, "buns": (2, 40), "sold": (2, 400)},
        "A bakery bakes {trays} trays of {rolls} rolls and {sheets} sheets of {buns} buns. By noon, {sold} pieces are "
        "sold. How many pieces are left?",
        "There are {trays} * {rolls} = {all_rolls} rolls.",
        "There are {sheets} * {buns} = {all_buns} buns.",
        "In all, the bakery has {all_rolls} + {all_buns} = {pieces} pieces.",
        "By noon, {pieces} - {sold} = {left} pieces are left.",
    ),
    _word(
        "trip",
        {"before": _LARGE, "hours": _SMALL, "speed": (2, 90), "more_hours": _SMALL, "next_speed": (2, 90)},
        "{name} has already driven {before} kilometres, then drives {hours} hours at {speed} kilometres per hour on "
        "Monday and {more_hours} hours at {next_speed} kilometres per hour on Tuesday. "
        "How many kilometres is that in all?",
        "On Monday, {name} drives {hours} * {speed} = {first} kilometres.",
        "On Tuesday, it is {more_hours} * {next_speed} = {second} kilometres.",
        "By the end of Monday, that is {before} + {first} = {so_far} kilometres.",
        "In all, it is {so_far} + {second} = {total} kilometres.",
    ),
    _word(
        "fundraiser",
        {"cars": (2, 40), "price": (2, 30), "gifts": _LARGE, "soap": (2, 40), "children": _SMALL},
        "At a fundraiser, children wash {cars} cars for {price} dollars each and receive {gifts} dollars in gifts. "
        "Soap costs {soap} dollars. What remains is split equally among {children} children. "
        "How many dollars does each get?",
        "The washing brings {cars} * {price} = {earned} dollars.",
        "With the gifts, that is {earned} + {gifts} = {total} dollars.",
        "After paying for the soap, {total} - {soap} = {net} dollars are left.",
        "Each child gets {net} / {children} = {share} dollars.",
    ),
)
