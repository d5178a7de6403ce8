"""What Markdown becomes in the web client: ranges, CJK text, addresses and formulas."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.web.script import script

Outline = Callable[[str], str]


@pytest.fixture(scope="module")
def outline() -> Iterator[Outline]:
    """Markdown as the web client reads it, with the names of elements."""
    with script("markdown.ts") as reader:
        yield lambda text: json.loads(reader.ask(text))


@pytest.mark.parametrize(
    "text",
    [
        "It costs 5~7 dollars, or 100~200 in bulk.",
        "营业时间 9~18点,周末 10~16点。",
        "(~2000 lines) and (~5000 lines)",
        "~/a and ~/b, a~b~c, ~x~",
        "約~3分、~5分",
    ],
)
def test_a_single_tilde_is_a_tilde(outline: Outline, text: str) -> None:
    assert outline(text) == text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("~~gone~~ stays", "<delete>gone</delete> stays"),
        ("5~7, ~~8~9~~", "5~7, <delete>8~9</delete>"),
        ("~~删除。~~的", "<delete>删除。</delete>的"),
        ("**注意：**请看", "<strong>注意：</strong>请看"),
        ("他说**“引用”**的话", "他说<strong>“引用”</strong>的话"),
        ("*重要。*请看", "<emphasis>重要。</emphasis>请看"),
        ("これは**「重要」**です", "これは<strong>「重要」</strong>です"),
        ("**설정(Settings)**에서", "<strong>설정(Settings)</strong>에서"),
        ("***（粗斜）***字", "<emphasis><strong>（粗斜）</strong></emphasis>字"),
        ("**`code`**を", "<strong><inlineCode>code</inlineCode></strong>を"),
        ("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name"),
    ],
)
def test_emphasis_beside_cjk_text(outline: Outline, text: str, read: str) -> None:
    assert outline(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("看https://a.com/x。然后", "看<link https://a.com/x>https://a.com/x</link>。然后"),
        ("https://a.com/x（说明）", "<link https://a.com/x>https://a.com/x</link>（说明）"),
        ("https://a.com/xを見る", "<link https://a.com/x>https://a.com/x</link>を見る"),
        ("https://a.com에서", "<link https://a.com>https://a.com</link>에서"),
        ("「https://a.com/?q=1」", "「<link https://a.com/?q=1>https://a.com/?q=1</link>」"),
        ("看：www.a.com/b，好", "看：<link http://www.a.com/b>www.a.com/b</link>，好"),
        ("“https://a.com/b”", "“<link https://a.com/b>https://a.com/b</link>”"),
        ("https://a.com，**重点**。", "<link https://a.com>https://a.com</link>，<strong>重点</strong>。"),
        ("www.a.com、www.b.com", "<link http://www.a.com>www.a.com</link>、<link http://www.b.com>www.b.com</link>"),
        ("**https://a.com/b**。", "<strong><link https://a.com/b>https://a.com/b</link></strong>。"),
        ("联系 me@a.com。", "联系 <link mailto:me@a.com>me@a.com</link>。"),
        ("https://a.com/b(c)?d_e_f.", "<link https://a.com/b(c)?d_e_f>https://a.com/b(c)?d_e_f</link>."),
        ("[x](https://a.com/中文)", "<link https://a.com/中文>x</link>"),
    ],
)  # fmt: skip
def test_a_bare_address_ends_where_the_sentence_goes_on(
    outline: Outline, text: str, read: str
) -> None:
    assert outline(text) == read


@pytest.mark.parametrize(
    "formula",
    [
        r"\(x_1 * y_2 * z\)",
        r"\( \frac{a}{b} \\ \{c\} \)",
        r"\[a_b + \left\{ c_d \right\}\]",
        "$$x_i * y_i$$",
    ],
)
def test_a_formula_is_shown_as_it_was_written(outline: Outline, formula: str) -> None:
    assert outline(f"so {formula} is *it*") == (
        f"so <inlineCode>{formula}</inlineCode> is <emphasis>it</emphasis>"
    )
    assert outline(f"- one\n- {formula} x") == (
        f"<list><listItem>one</listItem>"
        f"<listItem><inlineCode>{formula}</inlineCode> x</listItem></list>"
    )


@pytest.mark.parametrize(("opening", "closing"), [(r"\[", r"\]"), ("$$", "$$")])
def test_a_formula_of_several_lines_is_a_block(
    outline: Outline, opening: str, closing: str
) -> None:
    formula = (
        f"{opening}\n\\begin{{aligned}}\na_1 &= b_1 \\\\\n- c\n= # d\n\\end{{aligned}}\n{closing}"
    )
    assert outline(f"where\n{formula}\nand *so*") == (
        f"where<code>{formula}</code>and <emphasis>so</emphasis>"
    )
    # While it is written; in a quote, which ends where the formula does not.
    assert outline(f"{opening}\na_1 * b *") == f"<code>{opening}\na_1 * b *</code>"
    quoted = "> " + formula.replace("\n", "\n> ") + "\n\nafter"
    assert outline(quoted) == f"<blockquote><code>{formula}</code></blockquote>after"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"$\alpha_{i}$ and $\{x\}$", r"$\alpha_{i}$ and $\{x\}$"),
        ("$5 or *$6*, $HOME/a_b and $PATH", "$5 or <emphasis>$6</emphasis>, $HOME/a_b and $PATH"),
        (r"an open \(x and \*stars\*", "an open (x and *stars*"),
        ("$$ alone\n\n*x*", "$$ alone<emphasis>x</emphasis>"),
        (r"`\(code\)`", r"<inlineCode>\(code\)</inlineCode>"),
    ],
)
def test_what_is_no_formula_is_markdown(outline: Outline, text: str, read: str) -> None:
    assert outline(text) == read


@pytest.mark.parametrize(
    "piece", [r"\(", r"\[ ", "$$ ", "$1^", "$_", r"\(\\", "$$\n", "\\(a\n", "\\[a\n"]
)
def test_what_never_closes_is_read_once(outline: Outline, piece: str) -> None:
    text = piece * (20_000 // len(piece)) + "x" * 20_000
    assert outline(text).endswith("x" * 100)
