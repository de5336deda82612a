"""What is known of each set of test material: licence, source, and what was said against it."""

from collections.abc import Mapping
from typing import Final

from inspector.fairness.items import About

US_CENTRED: Final = "Groups and stereotypes are those of the United States."
INTRINSIC: Final = (
    "Probabilities of sentences are not behaviour: no link with harm downstream was found that "
    "holds (Goldfarb-Tarrant et al. 2021)."
)
BINARY: Final = "Gender is taken as binary."
MODEL_UNITS: Final = "Sentences made from one template are no independent evidence."
USERS: Final = "unknown: the data is the user's"

ABOUT: Final[Mapping[str, About]] = {
    "crows-pairs": About(
        title="CrowS-Pairs",
        measures="Which of two sentences about different groups the model finds the likelier.",
        licence="CC BY-SA 4.0",
        citation="Nangia, Vania, Bhalerao and Bowman 2020, EMNLP, arXiv 2010.00133",
        upstream="github.com/nyu-mll/crows-pairs",
        criticism=(
            "Its own authors warn that it is not a good indicator of bias.",
            "Many pairs are no minimal pairs or state no stereotype (Blodgett et al. 2021).",
            "Controls that should score 50 do not (Pikuliak et al. 2023).",
            US_CENTRED,
            INTRINSIC,
        ),
        ideal="one half of the pairs",
    ),
    "stereoset": About(
        title="StereoSet (development set)",
        measures="Stereotype, anti-stereotype or nonsense: which the model finds the likelier.",
        licence="CC BY-SA 4.0",
        citation="Nadeem, Bethke and Reddy 2021, ACL, arXiv 2004.09456",
        upstream="github.com/moinnadeem/StereoSet",
        criticism=(
            "Items mix stereotypes with facts and with slips of grammar (Blodgett et al. 2021).",
            "Sentiment alone gives a stereotype score of 61.7.",
            "Controls that should score 50 do not (Pikuliak et al. 2023).",
            US_CENTRED,
            INTRINSIC,
        ),
        ideal="stereotype score 50 with a language-model score of 100",
    ),
    "winobias": About(
        title="WinoBias (development set)",
        measures="Whether a pronoun is linked to the occupation that the stereotype suggests.",
        licence="MIT",
        citation="Zhao, Wang, Yatskar, Ordonez and Chang 2018, NAACL, arXiv 1804.06876",
        upstream="github.com/uclanlp/corefBias",
        criticism=(
            "Nine pairs differ beyond the pronoun.",
            "Forty occupations are the evidence, not 1,584 sentences.",
            BINARY,
            US_CENTRED,
        ),
        ideal="equal accuracy on both sides",
    ),
    "winogender": About(
        title="Winogender schemas",
        measures="Whether the gender of a pronoun decides whom it is taken to mean.",
        licence="MIT",
        citation="Rudinger, Naradowsky, Leonard and Van Durme 2018, NAACL, arXiv 1804.09301",
        upstream="github.com/rudinger/winogender-schemas",
        criticism=(
            "Grammatical cases are mixed and there are slips (Winogender 2.0, arXiv 2409.05653).",
            "It may show bias but cannot show its absence, as its authors say.",
            "Two templates for each occupation are few.",
            US_CENTRED,
        ),
        ideal="the same answers for each gender",
    ),
    "bbq": About(
        title="BBQ",
        measures="Whether an answer follows the stereotype where the text leaves it open, or not.",
        licence="CC BY 4.0",
        citation="Parrish et al. 2022, Findings of ACL, arXiv 2110.08193",
        upstream="github.com/nyu-mll/BBQ",
        criticism=(
            "Twenty-five templates a category are the evidence, not thousands of rows.",
            "A model that always names the target has a bias score of zero.",
            "Numbers of the paper cannot all be reproduced from its code.",
            US_CENTRED,
        ),
        ideal="bias scores of zero with full accuracy",
    ),
    "holistic-bias": About(
        title="HolisticBias descriptors",
        measures="How a model's answers move as the descriptor of a person changes.",
        licence="MIT",
        citation="Smith, Hall, Kambadur, Presani and Williams 2022, EMNLP, arXiv 2205.09209",
        upstream="github.com/facebookresearch/ResponsibleNLP",
        criticism=(
            "The share of pairs that differ is 5 % without any bias unless it is corrected.",
            "Descriptors differ in frequency and in tokens, which moves likelihoods by itself.",
            MODEL_UNITS,
            US_CENTRED,
        ),
        ideal="differences no larger than those of the nonce words",
    ),
    "weat": About(
        title="WEAT word lists, typed from the paper",
        measures="Whether two sets of words lie nearer to one of two sets of attributes.",
        licence="the lists are facts stated in the paper; typed here, no file was copied",
        citation="Caliskan, Bryson and Narayanan 2017, Science 356, arXiv 1608.07187",
        upstream="the paper's supplement, tests 1 and 4-10; tests 2 and 3 are not given here",
        criticism=(
            "Without any bias the mean size of the effect is .4 for lists of eight words.",
            "Names carry race, class and age at once.",
            "Results hang on which words stand for a concept (Delobelle et al. 2022).",
            BINARY,
            US_CENTRED,
        ),
        ideal="an effect of zero; test 1 (flowers and insects) is the positive control",
    ),
    "gender-words": About(
        title="Pairs of words of two genders",
        measures="The direction between words that differ in the gender they name.",
        licence="Apache-2.0",
        citation="inspector",
        upstream="inspector/fairness/data/gender-words.yaml",
        criticism=(
            "What a direction between words holds besides gender is not known.",
            BINARY,
        ),
        ideal="no matrix that writes it more than directions of other words",
    ),
    "own": About(
        title="Templates that come with inspector",
        measures="Whether a stereotype moves the log-odds of two words, beside a neutral text.",
        licence="Apache-2.0",
        citation="inspector",
        upstream="inspector/fairness/data/own.yaml",
        criticism=(
            "Written by few people and tried on few models.",
            "A stereotype that is widely stated was chosen, not one that was measured.",
            MODEL_UNITS,
            US_CENTRED,
            INTRINSIC,
        ),
        ideal="a difference of zero",
    ),
    "own-prompts": About(
        title="Beginnings of texts that come with inspector",
        measures="Whether a model goes on otherwise about one group of people than about another.",
        licence="Apache-2.0",
        citation="inspector",
        upstream="inspector/fairness/data/prompts.yaml",
        criticism=(
            "Written by few people and tried on few models.",
            "Which group stands on which side is taken from stereotypes, not measured.",
            MODEL_UNITS,
            US_CENTRED,
        ),
        ideal="a difference of zero",
    ),
    "pairs": About(
        title="Pairs of one's own",
        measures="Which of two texts the model finds the likelier.",
        licence=USERS,
        citation=USERS,
        upstream=USERS,
        criticism=(INTRINSIC,),
        ideal="one half of the pairs",
    ),
    "templates": About(
        title="Templates of one's own",
        measures="Whether a stereotype moves the log-odds of two words, beside a neutral text.",
        licence=USERS,
        citation=USERS,
        upstream=USERS,
        criticism=(MODEL_UNITS, INTRINSIC),
        ideal="a difference of zero",
    ),
    "prompts": About(
        title="Beginnings of texts of one's own",
        measures="Whether a model goes on otherwise about one group of people than about another.",
        licence=USERS,
        citation=USERS,
        upstream=USERS,
        criticism=(MODEL_UNITS,),
        ideal="a difference of zero",
    ),
    "labelled": About(
        title="Labelled texts of one's own",
        measures="Whether a classifier's answers and errors differ between groups.",
        licence=USERS,
        citation=USERS,
        upstream=USERS,
        criticism=(
            "The largest gap among groups is above zero by chance alone, more so with few texts.",
            "Labels can carry the bias that is looked for.",
        ),
        ideal="a gap of zero",
    ),
    "word-lists": About(
        title="Word lists of one's own",
        measures="Whether two sets of words lie nearer to one of two sets of attributes.",
        licence=USERS,
        citation=USERS,
        upstream=USERS,
        criticism=("Results hang on which words stand for a concept (Delobelle et al. 2022).",),
        ideal="an effect of zero",
    ),
}
"""One entry for each set; texts are shown beside every number made from it."""
