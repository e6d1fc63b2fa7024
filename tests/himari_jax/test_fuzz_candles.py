"""Thousands of candle files, most with faults: repaired or refused as promised, nothing changed in silence."""

import csv
import gzip
import io
import random
import re
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from faulty import FATAL, HARMLESS, make_case
from faulty_files import COLUMNS, Case, Sheet, as_float, write

from himari_jax.candles import Candles, DataReport, RawCandles
from himari_jax.checking.candles import check_candles
from himari_jax.errors import InputError, InputFaults
from himari_jax.features.market import market_features
from himari_jax.sources.files import read_candles
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest

# Faults at which reading ends, whatever else there is.
READER = {"between_milliseconds", "half_clock", "no_number"}


def run(case: Case, folder) -> tuple[Candles, DataReport]:
    """Writes the files of a case and loads them as a run does."""
    paths = []
    for sheet in case.sheets:
        paths.append(folder / f"{sheet.symbol}{case.suffix}")
        paths[-1].write_bytes(write(case, sheet))
    try:
        symbols = tuple(sheet.symbol for sheet in case.sheets)
        request = SourceRequest(symbols, tuple(map(str, paths)), assume_utc=case.assume_utc)
        options = {"calendar": case.calendar, "repair": case.repair, "now_ms": case.now}
        return check_candles(load_candles("files", request), **options)
    finally:
        for path in paths:
            path.unlink()


def truth(case: Case, sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """Times (T,) and numbers (T, 5) that a file states of finished candles, in its order."""
    rows = [row for row in sheet.rows if not any(row is torn for torn in case.torn)]
    numbers = np.array([[as_float(x) for x in row[1:]] for row in rows], np.float64)
    if case.style.get("table") == "float32":
        numbers = numbers.astype(np.float32).astype(np.float64)
    return np.array([row[0] for row in rows]), numbers


def repaired(time: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, Counter]:
    """The same without rows that have no price, with highs and lows that include the body; how many were either."""
    priced = ~np.isnan(numbers[:, :4]).all(axis=1)
    time, numbers = time[priced], numbers[priced]
    body, before = numbers[:, [0, 3]], numbers.copy()
    numbers[:, 1], numbers[:, 2] = (np.maximum(numbers[:, 1], body.max(1)), np.minimum(numbers[:, 2], body.min(1)))
    mended = (numbers != before) & ~np.isnan(before)
    return time, numbers, Counter(no_price=int((~priced).sum()), rounding=int(mended.any(axis=1).sum()))


def reconcile(case: Case, candles: Candles, report: DataReport) -> None:
    """Every difference between what was written and what was loaded stands in the report, and nothing else does."""
    found, wanted = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for x in report.entries:
        kind = "torn" if x["detail"].startswith("last row dropped") else x["kind"]
        found += Counter({(kind, x["symbol"]): x["count"]} if kind != "note" else {})
    for n, sheet in enumerate(case.sheets):
        time, numbers, repairs = repaired(*truth(case, sheet))
        first = {int(moment): k for k, moment in reversed(list(enumerate(time)))}
        stated = np.array([numbers[first[moment]] for moment in sorted(first)])
        kept = np.isin(candles.time, time)
        loaded = np.stack([getattr(candles, name)[:, n] for name in COLUMNS], axis=1)
        row = np.searchsorted(sorted(first), candles.time, side="right") - 1
        carried = np.column_stack([np.repeat(stated[row, 3:4], 4, axis=1), np.zeros(len(row))])
        np.testing.assert_array_equal(loaded, np.where(kept[:, None], stated[row], carried))
        assert not candles.tradable[~kept, n].any()
        lost = len(first) - int(kept.sum())
        assert lost == sum(found[kind, sheet.symbol] for kind in ("unfinished", "common_span", "split_loss"))
        wanted.update({(kind, sheet.symbol): count for kind, count in repairs.items()})
        wanted["torn", sheet.symbol] = sum(row is torn for row in sheet.rows for torn in case.torn)
        wanted["sorted", sheet.symbol] = int((np.diff(time) < 0).sum())
        wanted["duplicate", sheet.symbol] = len(time) - len(first)
        wanted["gap", sheet.symbol] = int((~kept).sum())
        flat, jumps = flat_rows_and_jumps(loaded, candles.segment)
        wanted["flat", sheet.symbol] = int((flat & kept).sum())
        np.testing.assert_array_equal(candles.tradable[:, n], kept & ~flat)
        wanted["jump", sheet.symbol] = jumps
    others = ("unfinished", "common_span", "split_loss", "split")
    assert +wanted == Counter({key: count for key, count in found.items() if key[0] not in others})
    check_segments(case, candles, any(kind == "split" for kind, _ in found))
    notes = " | ".join(entry["detail"] for entry in report.entries if entry["kind"] == "note")
    for note in case.notes:
        assert note in notes
    separated = [1000 <= x < 1e15 for sheet in case.sheets for row in sheet.rows for x in row[1:]]
    assert ("thousands" in notes) == (case.style.get("thousands", False) and any(separated))


def flat_rows_and_jumps(loaded: np.ndarray, segment: np.ndarray) -> tuple[np.ndarray, int]:
    """Rows from the sixth equal flat bar without volume on, (T,) bool, and how many rows jump by more than half."""
    flat, jumps, length = np.zeros(len(loaded), bool), 0, 0
    rows = loaded.tolist()
    for k, (opened, high, low, close, volume) in enumerate(rows):
        before = rows[k - 1][3] if k and segment[k] == segment[k - 1] else None
        jumps += high > 1.5 * (before or opened) or low < 0.5 * (before or opened)
        still = opened == high == low == close and volume == 0
        length = (length + 1 if length and close == before else 1) if still else 0
        flat[k] = length >= 6
    return flat, jumps


def check_segments(case: Case, candles: Candles, split: bool) -> None:
    """Rows of a segment are consecutive bars; a break is a gap of more than three bars, and reported."""
    inside = np.diff(candles.segment) == 0
    if case.calendar == "continuous":
        bars = np.diff(candles.time) // candles.bar_ms
        assert (bars[inside] == 1).all()
        assert (bars[~inside] > 4).all()
    assert split >= bool((~inside).any())


def fuzz(seeds: range, folder) -> Counter:
    """Loads one case per seed; how many were valid, refused, and had each fault."""
    seen: Counter = Counter()
    for seed in seeds:
        case = make_case(seed)
        info = f"seed {seed}: {case.suffix} {case.clock} {case.style} {case.faults}"
        try:
            candles, report = run(case, folder)
        except InputError as error:
            check_refusal(case, error, info)
            seen["refused"] += 1
        else:
            assert not case.refusals, info
            try:
                reconcile(case, candles, report)
                features, correlations = market_features(candles)
            except Exception as error:
                raise AssertionError(info) from error
            assert np.isfinite(features).all(), info
            assert np.isfinite(correlations).all(), info
            seen["valid"] += 1
        seen.update(case.faults)
    return seen


def check_refusal(case: Case, error: InputError, info: str) -> None:
    """Every fault is one line that names the file, and nothing else is, unless the reader gave up."""
    lines = [fault.text for fault in error.faults] if isinstance(error, InputFaults) else [str(error)]
    info = f"{info}: {lines}"
    assert not any("\n" in line for line in lines), info
    assert all(any(sheet.symbol in line for sheet in case.sheets) for line in lines), info
    reported = [any(word in line for word in words for line in lines) for words in case.refusals]
    reader = READER & set(case.faults)
    assert len(lines) <= len(case.refusals) + len(case.torn) or reader, info
    assert all(reported) or reader, info
    assert any(reported) or len(reader) > 1, info  # two ways to write a time that no reader takes


def check_share(seen: Counter, files: int) -> None:
    """At least half of the files reached the features, and every fault was met."""
    print(dict(seen))
    assert seen["valid"] + seen["refused"] == files
    assert seen["valid"] >= files / 2
    assert all(seen[name] for name in HARMLESS | FATAL)


def damage(rng: random.Random, data: bytes) -> bytes:
    """A file after a bad disk or transfer: bits flipped, cut, or a stretch lost, repeated or overwritten."""
    kind, at, length = rng.choice("fffclrw"), rng.randrange(len(data)), rng.choice((1, 8, 60, 700))
    if kind == "f":
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 6))):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    middle = {"c": b"", "l": b"", "r": data[at : at + length] * 2, "w": rng.randbytes(length)}[kind]
    return data[:at] + middle + (b"" if kind == "c" else data[at + length :])


def compare_with_lines(raw: RawCandles, data: bytes) -> None:
    """Every loaded row is what its line of the file says, by another reader, and no line is left out."""
    lines = list(io.StringIO(data.decode("utf-8-sig"), newline=""))
    body = [line for line in lines[int(raw.row[0]) - 1 :] if line.strip()]
    assert len(body) == len(raw.row)
    for k, number in enumerate(raw.row):
        cells = next(csv.reader([lines[number - 1]], skipinitialspace=True))
        stated = [float(cell.replace(",", "") or "nan") for cell in cells[1:]]
        np.testing.assert_array_equal([getattr(raw, name)[k] for name in COLUMNS], stated)
        moment = datetime(*map(int, re.findall(r"\d+", cells[0])), tzinfo=UTC)
        assert moment.timestamp() * 1000 == raw.time[k]


def fuzz_bytes(seeds: range) -> Counter:
    """Reads one damaged file per seed; how many were still read, and how many refused."""
    seen: Counter = Counter()
    for seed in seeds:
        rng, case = random.Random(seed), make_case(seed, whole=True)
        case.suffix = rng.choice((".csv", ".csv", ".csv.gz"))
        plain = write(case, case.sheets[0])
        data = damage(rng, plain)
        try:
            raw = read_candles(data, case.suffix, "BTC-USD", "BTC-USD.csv")
            candles, _ = check_candles([raw])
            assert np.isfinite(market_features(candles)[0]).all(), seed
        except InputError as refusal:
            lines = [x.text for x in refusal.faults] if isinstance(refusal, InputFaults) else [str(refusal)]
            assert all(line.startswith("BTC-USD.csv: ") and "\n" not in line for line in lines), seed
            seen["refused"] += 1
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        if case.suffix == ".csv.gz":  # it has a checksum
            raw, data = read_candles(data, ".csv.gz", "BTC-USD", "BTC-USD.csv"), gzip.decompress(data)
            assert data == gzip.decompress(plain), seed
        compare_with_lines(raw, data)
        seen["read"] += 1
    return seen


def test_damaged_bytes_are_refused_in_one_line_or_read_as_the_lines_say():
    assert fuzz_bytes(range(500))["read"] > 10


@pytest.mark.slow
def test_5000_files_of_damaged_bytes_are_refused_or_read_as_the_lines_say():
    print(dict(fuzz_bytes(range(1000, 6000))))


def test_candles_with_faults_are_repaired_or_refused_as_promised_and_never_changed_in_silence(tmp_path):
    check_share(fuzz(range(300), tmp_path), 300)


@pytest.mark.slow
def test_20000_files_of_candles_are_repaired_or_refused_as_promised(tmp_path):
    check_share(fuzz(range(10_000, 30_000), tmp_path), 20_000)
