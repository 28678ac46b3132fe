"""tally.py RESULTS.xml: counts the test cases behind a run of ctest or pytest (their JUnit files).

Prints "<passed> <failed> <skipped>", then one line for each test that failed or skipped something.
A ctest test that is a cmocka or pytest program counts as many cases as its own summary says; any
other counts as one.
"""

import re
import sys
import xml.etree.ElementTree as ET

WORDS = ("passed", "failed", "skipped")
CMOCKA = re.compile(r"^\[  (PASSED |FAILED |SKIPPED) \] (\d+) test\(s\)", re.MULTILINE)
PYTEST_SUMMARY = re.compile(r"^=* ?(\d+ [a-z]+(?:, \d+ [a-z]+)*) in [\d.]+s", re.MULTILINE)
SKIP_REASON = re.compile(r"^(?:SKIP:?|SKIPPED \[\d+\] \S+:) (.*)", re.MULTILINE)
PYTEST_SKIP = re.compile(r"Skipped: (.*?)[\"']?\)?$", re.MULTILINE)
PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")


def cases(output):
    """The counts in a test program's own summary; all zero if it has none."""
    counts = dict.fromkeys(WORDS, 0)
    for word, number in CMOCKA.findall(output):
        counts[word.strip().lower()] += int(number)
    for summary in PYTEST_SUMMARY.findall(output):
        for number, word in PYTEST_COUNT.findall(summary):
            counts["failed" if word == "error" else word] += int(number)
    return counts


def count(test):
    """Counts for one <testcase>; ctest's own verdict has the last word."""
    counts = cases(test.findtext("system-out") or "")
    wrong = test.get("status") == "fail" or any(test.find(tag) is not None for tag in ("failure", "error"))
    if wrong and counts["failed"] == 0:
        counts["failed"] = 1  # of pytest; of ctest a crash, a time-out, a leak found at exit
    elif test.find("skipped") is not None:
        counts["skipped"] += 1
    elif sum(counts.values()) == 0:
        counts["passed"] = 1
    return counts


def reasons(test):
    """Why one <testcase> skipped what it skipped, each reason once, in order."""
    found = SKIP_REASON.findall(test.findtext("system-out") or "")
    skipped = test.find("skipped")
    if skipped is not None and skipped.get("message"):  # pytest's own file
        found += PYTEST_SKIP.findall(skipped.text or "") or [skipped.get("message")]
    return dict.fromkeys(found)


def main(path):
    totals = dict.fromkeys(WORDS, 0)
    notes = []
    for test in ET.parse(path).getroot().iter("testcase"):
        counts = count(test)
        for word in WORDS:
            totals[word] += counts[word]
        if counts["failed"]:
            notes.append(f"{test.get('name')}: {counts['failed']} failed")
        if counts["skipped"]:
            notes.append(f"{test.get('name')}: {counts['skipped']} skipped: {'; '.join(reasons(test))}")
    print(*(totals[word] for word in WORDS))
    print("\n".join(notes))


if __name__ == "__main__":
    main(sys.argv[1])
