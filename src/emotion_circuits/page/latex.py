"""Text and claims as LaTeX: every character that means something to TeX is written so that it is only itself.

What comes out needs LuaLaTeX (or XeLaTeX), which reads UTF-8, and the packages ``booktabs``, ``longtable`` and ``array``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import probability
from emotion_circuits.page.telling import Told, beside, figure_words

__all__ = ["CITED", "cited_in", "claims_table", "latex", "latex_prose"]

_MEANS = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
}  # fmt: skip
# Mathematical signs are set as mathematics: text fonts lack many, and Japanese ones set them as wide as a character.
_SIGNS = {
    "−": "-", "×": r"\times ", "±": r"\pm ", "·": r"\cdot ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "→": r"\rightarrow ", "←": r"\leftarrow ", "↔": r"\leftrightarrow ", "√": r"\surd ", "∞": r"\infty ", "∈": r"\in ",
    "∥": r"\Vert ", "‖": r"\Vert ", "°": r"^{\circ}",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ", "η": r"\eta ", "κ": r"\kappa ",
    "λ": r"\lambda ", "μ": r"\mu ", "π": r"\pi ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\phi ", "χ": r"\chi ",
    "Δ": r"\Delta ", "Σ": r"\Sigma ", "Ω": r"\Omega ",
}  # fmt: skip
_RAISED = {"<super>": "^", "<sub>": "_"}
_DOTS = {"…": r"\ldots{}", "–": r"\textendash{}", "—": r"\textemdash{}"}
_QUOTED = re.compile(r"(?<!\w)'([^'\n]+)'(?!\w)")
_APOSTROPHE = re.compile(r"(?<=\w)'")
CITED = re.compile(r"\s*\[@([\w-]+(?:; @[\w-]+)*)\]")
"""``[@key]`` or ``[@one; @two]``, as in Pandoc's Markdown."""


def latex(text: str) -> str:
    r"""A text that LaTeX prints as it stands, with typographic quotation marks.

    Line ends become blanks; control characters and halves of characters, which no font has, are written as ``U+0007``.

    >>> latex("50 % of L3_H2 & 'core'")
    '50 \\% of L3\\_H2 \\& ‘core’'
    >>> latex("−0.1 … α²")
    '\\ensuremath{-}0.1 \\ldots{} \\ensuremath{\\alpha }\\ensuremath{^{\\mathrm{2}}}'
    """
    text = _APOSTROPHE.sub("’", _QUOTED.sub(r"‘\1’", text))
    # Two dashes, or three, would become one longer one.
    return re.sub("-(?=-)", "-{}", "".join(map(_character, text)))


def _character(character: str) -> str:
    if character in "\n\t\r\u2028\u2029":
        return " "
    if character in _SIGNS:
        return rf"\ensuremath{{{_SIGNS[character]}}}"
    kind, _, codes = unicodedata.decomposition(character).partition(" ")
    if kind in _RAISED:
        return rf"\ensuremath{{{_RAISED[kind]}{{\mathrm{{{''.join(latex(chr(int(code, 16))) for code in codes.split())}}}}}}}"
    if unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn"):
        return f"U+{ord(character):04X}"
    return _MEANS.get(character) or _DOTS.get(character) or character


def cited_in(text: str) -> tuple[str, ...]:
    """Keys that a text cites, in order.

    >>> cited_in("Means differ [@one; @two].")
    ('one', 'two')
    """
    return tuple(key for found in CITED.findall(text) for key in found.split("; @"))


def latex_prose(text: str, known: Collection[str]) -> str:
    r"""A text with its citations; what looks like one and is not known stays text.

    >>> latex_prose("Means differ [@one]; so does [@else].", {"one"})
    'Means differ~\\cite{one}; so does [@else].'
    """
    parts, end = [], 0
    for found in CITED.finditer(text):
        keys = found[1].split("; @")
        if set(keys) <= set(known):
            parts += [latex(text[end : found.start()]), rf"~\cite{{{','.join(keys)}}}"]
            end = found.end()
    return "".join(parts) + latex(text[end:])


def claims_table(claims: Sequence[Told], *, caption: str, label: str) -> str:
    """Claims as a table that may break over pages: estimate with interval, chance level and null, n, p, q, verdict.

    Args:
        claims: in the order of the rows.
        caption: plain text.
        label: of the table.
    """
    heads = (
        say("claim"), say("estimate [95 % interval]"), say("beside it"), "n", "p", "q", say("verdict"),
    )  # fmt: skip
    head = " & ".join(rf"\textbf{{{latex(name)}}}" for name in heads) + r" \\"
    rows = "\n".join(_row(told) for told in claims)
    again = latex(say("continued"))
    return rf"""\begingroup\footnotesize\setlength{{\tabcolsep}}{{3pt}}\setlength{{\LTcapwidth}}{{\linewidth}}
\begin{{longtable}}{{@{{}}{_left(0.34)}{_left(0.18)}{_left(0.14)}rrr{_left(0.11)}@{{}}}}
\caption{{{latex(caption)}}}\label{{{label}}}\\
\toprule
{head}
\midrule
\endfirsthead
\multicolumn{{7}}{{@{{}}l}}{{\emph{{{again}}}}}\\
\toprule
{head}
\midrule
\endhead
\bottomrule
\endlastfoot
{rows}
\end{{longtable}}
\endgroup
"""


def _left(share: float) -> str:
    """A column of that share of the line, with a ragged right margin."""
    return rf">{{\raggedright\arraybackslash}}p{{{share:g}\linewidth}}"


def _row(told: Told) -> str:
    figures = told.claim.figures
    figure = latex(figure_words(told))
    cells = (
        latex(told.statement),
        (rf"\textbf{{{figure}}}" if told.claim.verdict == "supported" else figure) + r"\newline " + latex(told.unit),
        latex(beside(told)),
        str(figures.n),
        latex("" if figures.p is None else probability(figures.p)),
        latex("" if figures.q is None else probability(figures.q)),
        latex(term(told.claim.verdict)),
    )
    return " & ".join(cells) + r" \\[2pt]"
