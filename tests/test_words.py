"""Plain English: words that readers stumble over, and what to write instead."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
INSTEAD = {
    r"\banew\b": "again, or from scratch",
    r"\bwhoever\b": "the noun: the client that …",
    r"\bshall\b": "must, should, or will",
    r"\b(asks?|asked|gives?|gave|without) leave\b": "permission",
    r"\bleave (was|is|to run)\b": "permission",
    r"\bis no (agent|address|database|id|json|session|text)\b": "is not a valid …",
    r"\bcan come to nothing\b": "may be lost",
    r"(\b|_)(begun|thereby|whom)(\b|_)": "started; so; the noun",
    r"(\b|_)told(\b|_)": "reported, notified, sent, or raised",
    r"(\b|_)somebody(\b|_)": "a user, a client, or another process",
}


def test_the_words_are_everyday_english() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    built = ROOT / "src" / "sessile" / "web"
    code = [path for path in (ROOT / "src").rglob("*.py") if built not in path.parents]
    code += (ROOT / "bench").rglob("*.py")
    code += [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    found = []
    for path in [*pages, *code]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for pattern, better in INSTEAD.items():
                if match := re.search(pattern, line, re.IGNORECASE):
                    place = f"{path.relative_to(ROOT)}:{number}"
                    found.append(f"{place}: {match[0]!r}; write {better}")
    assert not found, "\n".join(found)
