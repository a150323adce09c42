"""`capsule report` on real runs, its page looked at in a real Chromium without a network."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from capsule.report.model import unpacked
from capsule.text import escape_arg, harmless
from tests.browser import look
from tests.conftest import RunCapsule
from tests.exporting import body, make_run
from tests.logs import Record, actions, end, read_log

SCRIPT = "i=0; while [ $i -lt 6 ]; do /bin/true; i=$((i+1)); done; cat /etc/hostname missing >out"
HOSTILE = [
    b"a<script>alert(1)<",  # with the directory below it: a whole element
    b'"><img src=x onerror=alert(1)>',
    b"{{7*7}}{% raw %}${7*7}<%= 7*7 %>",
    "\u2028\u2029\u202egpj.exe\u200b".encode(),
    b"\xff\xfe\x80",
    b"new\nline\ttab\x1b[31m\x07",
    b"]]>--><!--<svg onload=alert(1)>",
    b"back\\slash'quote\"",
    b"javascript:alert(1)",
]


def data_of(page: Path) -> Any:
    """What the page's script works on."""
    found = re.search(r'id="data">([^<]*)<', page.read_text(encoding="utf-8"))
    assert found
    return unpacked(found[1])


def make(capsule: RunCapsule, page: Path, *words: str, status: int = 0) -> Path:
    done = capsule("report", "-o", page, *words)
    assert done.returncode == status, done.stderr
    return page


def failed_calls(found: list[Record]) -> int:
    return sum(sum((one.get("errors") or {}).values()) for one in found)


def test_the_page_says_what_the_log_says(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    capsule("trace", "-q", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    found = actions(log_dir)
    kinds = Counter(one["kind"] for one in found)
    missing = [one for one in found if str(one.get("target")).endswith("/missing")]
    with look(make(capsule, tmp_path / "page.html")) as seen:
        page = seen.page
        assert seen.number("#n-actions") == seen.number("#hits") == len(found)
        assert seen.number("#n-events") == end(log_dir)["totals"]["count"]
        assert seen.number("#n-processes") == len({one["proc"] for one in found})
        assert page.inner_text(".verdict") == "intact and complete"
        assert read_log(log_dir)[-1]["hash"] in page.inner_text("#integrity")
        assert f"--expect-key {read_log(log_dir)[0]['key']}" in page.inner_text("#integrity pre")
        assert "exit status 1" in page.inner_text(".story")
        for kind in ("file.open", "proc.exec", "proc.exit"):
            seen.search(f"kind:{kind}", kinds[kind])
        seen.search("target:/missing is:failed errno:ENOENT", len(missing))
        assert all("ENOENT" in row for row in seen.rows("#actions"))
        seen.search("-kind:file", sum(n for kind, n in kinds.items() if kind[:5] != "file."))
        seen.search("no such text anywhere", 0)
        page.keyboard.press("Escape")
        assert seen.number("#hits") == len(found)
        seen.search("target:/missing", len(missing))
        page.click("#tab-failures")
        page.locator("#failures .row", has_text="/missing").first.click()
        shown = page.inner_text("#detail code")
        seq = int(shown.split()[-1])
        assert seq in [one["seq"] for one in missing]
        assert capsule(*shown.split()[1:]).returncode == 0


def test_the_tree_folds_repeats_and_chooses_a_process(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    capsule("trace", "-q", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    cat = next(one for one in actions(log_dir, "proc.exec") if one.get("argv", [""])[0] == "cat")
    mine = [one for one in actions(log_dir) if one["proc"] == cat["proc"]]
    with look(make(capsule, tmp_path / "page.html")) as seen:
        page = seen.page
        folded = page.locator("#tree .row", has_text="× 6")
        assert "true" in folded.inner_text()
        assert folded.get_attribute("aria-expanded") == "false"
        rows = len(seen.rows("#tree"))
        folded.click()
        assert len(seen.rows("#tree")) == rows + 6
        page.keyboard.press("ArrowLeft")
        assert len(seen.rows("#tree")) == rows
        page.locator("#tree .row", has_text="cat /etc/hostname").last.click()
        assert seen.number("#hits") == len(mine)
        assert str(cat["pid"]) in page.inner_text(".chip")
        page.click("#tab-files")
        page.get_by_role("radio", name=re.compile("^changed")).click()
        assert seen.rows("#files")[-1].startswith("out")
        page.keyboard.press("Escape")
        assert page.locator(".chip").count() == 0


def test_the_timeline_zooms_by_wheel_and_keys(capsule: RunCapsule, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    with look(make(capsule, tmp_path / "page.html")) as seen:
        page = seen.page
        every = seen.number("#hits")
        page.hover("canvas", position={"x": 300, "y": 60})
        page.mouse.wheel(0, -400)
        page.wait_for_selector(".chip")
        assert 0 < seen.number("#hits") < every
        page.focus("canvas")
        page.keyboard.press("0")
        page.wait_for_selector(".chip", state="detached")
        page.keyboard.press("+")
        page.wait_for_selector(".chip")
        page.keyboard.press("Escape")
        page.wait_for_selector(".chip", state="detached")
        page.click("canvas", position={"x": 300, "y": 58})  # the first lane: the shell's
        assert "sh -c" in page.inner_text(".chip")


def test_dark_and_light(capsule: RunCapsule, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "true")
    page = make(capsule, tmp_path / "page.html")
    colour = "getComputedStyle(document.body).backgroundColor"
    grounds = {}
    for scheme in ("light", "dark"):
        with look(page, color_scheme=scheme) as seen:
            grounds[scheme] = seen.page.evaluate(colour)
            seen.page.keyboard.press("t")
            grounds[f"not {scheme}"] = seen.page.evaluate(colour)
            assert contrasts(seen) == []
    assert grounds["light"] == grounds["not dark"] != grounds["dark"] == grounds["not light"]


def contrasts(seen: Any) -> list[str]:
    """Inks that stand out too little from their ground: WCAG 2.1, 1.4.3 wants 4.5."""
    found: list[str] = seen.page.evaluate("""() => {
      const probe = document.body.appendChild(document.createElement("i"));
      const light = (name) => {
        probe.style.color = `var(${name})`;
        const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const [r, g, b] = parts.map((n) => n / 255).map(
          (n) => n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const low = [];
      for (const ground of ["--bg", "--panel", "--raised", "--chosen"])
        for (const ink of ["--ink", "--dim", "--accent", "--good", "--warn", "--bad"]) {
          const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
          const ratio = (a + 0.05) / (b + 0.05);
          if (ratio < 4.5) low.push(`${ink} on ${ground}: ${ratio.toFixed(2)}`);
        }
      probe.remove();
      return low;
    }""")
    return found


def test_hostile_names_are_inert(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    below = os.fsencode(tmp_path)
    (tmp_path / "a<script>alert(1)<").mkdir()
    paths = [below + b"/" + name for name in HOSTILE] + [below + b"/a<script>alert(1)</script>"]
    capsule("trace", "-q", "--", "touch", "--", *paths)
    capsule("trace", "-q", "--", "cat", "--", *[path + b"<b>" for path in paths])
    for status in (0, 1):
        run = "latest" if status else read_oldest(log_dir)
        page = make(capsule, tmp_path / f"page{status}.html", run)
        texts = set(data_of(page)["strings"])
        names = [os.fsdecode(path + b"<b>" * status) for path in paths]
        assert {escape_arg(name) for name in names} <= texts
        with look(page, viewport={"width": 1500, "height": 1000}) as seen:
            for name in names:
                seen.page.fill("#search", f'target:"{harmless(escape_arg(name))}"')
                if '"' in name:
                    continue  # a quote cannot be asked for within quotes
                row = seen.page.locator("#actions .row").first.locator("bdi")
                assert harmless(escape_arg(name)) in row.inner_text()
            for view in ("files", "network", "failures", "tags", "actions"):
                seen.page.click(f"#tab-{view}")
            seen.page.keyboard.press("Escape")
            assert seen.page.locator("script").count() == 2
            assert seen.page.locator("img, svg, iframe, object, embed, main b > *").count() == 0
            assert "49" not in seen.page.inner_text("h1").replace(str(tmp_path), "")


def read_oldest(log_dir: Path) -> str:
    return min(path.stem for path in log_dir.glob("2*.jsonl"))


def test_any_text_is_shown_as_text(capsule: RunCapsule, tmp_path: Path) -> None:
    points = [*range(1, 0x250), *range(0x590, 0x700, 3), *range(0x2000, 0x2070), 0xFEFF, 0xFFF9,
              0xE0001, 0x1F600, 0x10FFFF]  # fmt: skip
    names = ["/f/" + "".join(map(chr, points[at : at + 6])) for at in range(0, len(points), 6)]
    log = tmp_path / "run.jsonl"
    make_run(log, [body("file.open", target=name, first_ns=n) for n, name in enumerate(names)])
    page = make(capsule, tmp_path / "page.html", str(log))
    with look(page, viewport={"width": 1500, "height": 200 + 24 * len(names)}) as seen:
        seen.page.wait_for_selector(f"#actions-{len(names) - 1}")
        shown = seen.page.locator("#actions .row bdi").evaluate_all(
            "all => all.map(a => a.textContent)"
        )
        assert shown == [harmless(name) for name in names]


def test_without_scripts_and_on_paper(capsule: RunCapsule, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    page = make(capsule, tmp_path / "page.html")
    with look(page, scripts=False) as seen:
        assert "Scripts are off" in seen.page.inner_text("noscript")
        assert "/etc/hostname" not in seen.page.inner_text(".story")
        assert "/bin/true" in seen.page.inner_text(".paper")
        assert not seen.page.is_visible("#explore")
    with look(page) as seen:
        assert not seen.page.is_visible(".paper")
        seen.page.emulate_media(media="print")
        assert seen.page.is_visible(".paper")
        assert not seen.page.is_visible("#explore")
        assert seen.page.pdf()[:5] == b"%PDF-"


def test_a_narrow_window_does_not_scroll_sideways(capsule: RunCapsule, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    page = make(capsule, tmp_path / "page.html")
    with look(page, viewport={"width": 400, "height": 800}) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 400


def test_an_incomplete_log_has_a_banner(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "true")
    log = (log_dir / "latest").resolve()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-2]) + lines[-2][:40])
    with look(make(capsule, tmp_path / "page.html", status=3)) as seen:
        banner = seen.page.inner_text(".banner")
        assert "INCOMPLETE" in banner and f"missing is {len(lines) - 2}" in banner
        assert "40 bytes of a torn record" in banner


def test_a_tampered_log_is_shown_up_to_its_first_bad_record(
    capsule: RunCapsule, log_dir: Path, tmp_path: Path
) -> None:
    capsule("trace", "-q", "--", "sh", "-c", SCRIPT, cwd=tmp_path)
    log = (log_dir / "latest").resolve()
    lines = log.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b"/missing" in line)
    lines[at] = lines[at].replace(b"/missing", b"/innocent")
    log.write_bytes(b"".join(lines))
    good = sum(b'"type":"action"' in line for line in lines[:at])
    done = capsule("report", "-o", tmp_path / "page.html")
    assert done.returncode == 1
    assert b"is TAMPERED: record %d" % at in done.stderr
    with look(tmp_path / "page.html") as seen:
        assert f"first bad record is {at}," in seen.page.inner_text(".banner")
        assert seen.number("#n-actions") == good
        assert "/innocent" not in " ".join(data_of(tmp_path / "page.html")["strings"])


def test_a_hundred_thousand_actions_take_less_than_two_megabytes(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    kinds = ("file.open", "file.read", "file.stat", "file.close", "file.write", "mem.map")
    bodies = []
    at = 1_767_225_600_000_000_000
    for n in range(100_000):
        mixed = n * 2654435761 % 2**32  # Knuth's multiplier: spread out, the same each time
        at += 1000 + mixed % 90_000
        target = f"/srv/project/module{mixed % 97}/part{mixed % 89}/file{mixed % 11_000}.c"
        more = {"errors": {"ENOENT": 1}} if mixed % 7 == 0 else {"bytes": mixed % 65_536}
        bodies.append(body(kinds[mixed % 6], target=target, count=1 + mixed % 3, proc=1 + n // 50,
                           pid=100 + n // 50, first_ns=at, last_ns=at + mixed % 9000 * 1000,
                           **more))  # fmt: skip
    log = tmp_path / "run.jsonl"
    make_run(log, bodies)
    page = make(capsule, tmp_path / "page.html", str(log))
    assert len(data_of(page)["actions"]["seq"]) == 100_000
    assert page.stat().st_size < 2_000_000
    with look(page) as seen:
        assert seen.number("#hits") == 100_000
        seen.search("errno:ENOENT", sum("errors" in one for one in bodies))
        seen.page.focus("#actions")
        seen.page.keyboard.press("End")
        rows = seen.page.locator("#actions .row .cell:first-child").all_inner_texts()
        assert len(rows) < 100
        assert int(rows[-1]) > 100_000


def test_output_goes_where_it_is_asked_to(
    capsule: RunCapsule, tmp_path: Path, log_dir: Path
) -> None:
    capsule("trace", "-q", "--", "true")
    assert capsule("report", "-o", "-").stdout.startswith(b"<!DOCTYPE html>")
    done = capsule("report", cwd=tmp_path)
    assert done.stdout == b"" and b"report.html" in done.stderr
    assert (tmp_path / "report.html").read_bytes().startswith(b"<!DOCTYPE html>")
    done = capsule("report", "-o", tmp_path / "none" / "page.html")
    assert done.returncode == 2 and b"cannot write" in done.stderr
    assert capsule("report", "-o", "-", "--open").returncode == 2
    assert capsule("report", "nothing").returncode == 2


@pytest.mark.parametrize("name", ["page.html.j2", "page.css", "app.js"])
def test_the_parts_name_no_address_elsewhere(name: str) -> None:
    source = Path(__file__).resolve().parents[2] / "capsule" / "report" / name
    assert not re.search(r"https?://|@import|url\(", source.read_text(encoding="utf-8"))
