"""English "her" and "his": which counterpart they have, told from the words beside them.

"her" is "him" as an object ("we saw her .") and "his" before a noun ("her mother"); "his" is "her"
before a noun and "hers" alone. The rules are lists of words, no parser: where the words beside do
not tell, there is no answer.
"""

import re
from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text that is a list of them."""
    return frozenset(text.split())


ALONE: Final = words(
    # what can follow a whole noun phrase but not begin one after "her" or "his"
    "to from with at by for in on of into onto about as than after before because if when while "
    "until unless although though that whether but so who whom whose which where why how what "
    "a an the this these those some any every my your our their its it he she him them they we us "
    "you i me himself herself themselves is was were are has had have will would could should can "
    "may might must did does do not never again too there yesterday today tonight tomorrow ago "
    "without within against between through toward towards during over upon since away out up down "
    "off along apart aside here soon twice always often ever also instead anyway anymore "
    "everywhere somewhere together and or"
)
UNSURE: Final = words(
    # both follow an object ("saw her last week") and begin a noun phrase ("her last week")
    "back home well right left past inside outside last first next later early daily only even "
    "still just one two three four five many few several all both half more most much less like "
    "hard long fast high low round then now very quite pretty good better best free upset alone "
    "happy sad angry busy said went came took made got told cry leave go walk find know think feel "
    "laugh smile sit stand wait work play run sleep talk speak stay win lose"
)
NOUNS: Final = words(
    # surely nouns, whatever verb stands before
    "own mother father parents parent child children kids baby family friend friends boss husband "
    "wife brother sister son daughter uncle aunt boyfriend girlfriend hand hands head face eyes "
    "hair name house car job life room office phone dog cat team colleague colleagues neighbour "
    "neighbor wedding belly birthday"
)
OPEN: Final = words(
    # verbs after which "her" may be an object before a noun, an adjective or a verb
    "give gave gives giving given tell told tells telling show showed shows showing shown send "
    "sent sends sending teach taught teaches teaching offer offered offers offering ask asked "
    "asks asking buy bought buys buying bring brought brings bringing make made makes making let "
    "lets letting help helped helps helping see saw sees seen watch watched watches watching hear "
    "heard hears hearing feel felt feels have had has keep kept keeps keeping find found finds "
    "finding call called calls calling leave left leaves leaving name named names naming pay paid "
    "pays paying lend lent lends hand handed hands serve served serves cost costs wish wished "
    "wishes get got gets getting cause caused causes consider considered considers think thought "
    "thinks owe owed owes do did does set sets turn turned turns"
)
NOMINAL: Final = words(
    # end like adverbs, participles or past forms and are nouns or adjectives
    "lovely elderly friendly ugly silly curly assembly ally reply supply building evening morning "
    "clothing meeting painting ring earring wing thing darling sibling offspring spring being bed "
    "seed need beloved red deed"
)
ENDINGS: Final = ("ly", "ing", "ed")
JOINED: Final = ("and", "or")  # "his and her books": two words before one noun
NEXT: Final = re.compile(r"\s*([\w'’-]+)")
LAST: Final = re.compile(r"([\w'’-]+)\s+$")
END: Final = re.compile(r"\s*(?:[.,;:!?)\]…—]|$)")


def resolved(word: str, before: str, after: str) -> str | None:
    """The counterpart of "her" or "his" between two parts of a text; None where it is unsure."""
    object_form, owner = ("him", "his") if word == "her" else ("hers", "her")
    if END.match(after):
        return object_form
    follows = NEXT.match(after)
    if follows is None:
        return None
    following = follows[1].lower().removesuffix("'s").removesuffix("’s")
    if following in JOINED:
        return None
    if following in ALONE:
        return object_form
    if word == "his" or following in NOUNS:
        return owner
    precedes = LAST.search(before)
    if following in UNSURE or following[0].isdigit():
        return None
    if following.endswith(ENDINGS) and following not in NOMINAL:
        return None
    return None if precedes and precedes[1].lower() in OPEN else owner
