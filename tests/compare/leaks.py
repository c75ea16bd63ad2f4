"""Looks for the source's e-mail addresses, phone numbers and identifiers: in the target's text, and in raw bytes.

Tokens are extracted from what is scanned and looked up in the set of originals, so the time grows with the text, not
with text times originals. E-mails are found inside longer words too; phones by their digits however they are
punctuated, with or without a country code; identifiers as whole words. Values shorter than six characters (digits:
seven) cannot be told from chance, are left out and counted. What is compressed or sealed on disk cannot be seen.
"""

import mmap
import os
import re

IDENTIFIER_MIN = 6
DIGITS_MIN = 7
DIGITS_MAX = 15  # E.164
LOCAL_PART_MAX = 64
OVERLAP_BYTES = 512

# An @ and the host after it; the local part is read backwards, which is much faster than searching for it.
AT = re.compile(rb"@([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+)")
LOCAL = re.compile(rb"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\x80-\xff-]*\Z")
NUMBER = re.compile(rb"[0-9](?:[0-9 ().+/\-]{5,})[0-9]|(?<![0-9])[0-9]{7,}")
GROUP = re.compile(rb"[0-9]+")
WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_-]{4,}[A-Za-z0-9]")


class Originals:
    """The source's classified values, as sets of bytes."""

    def __init__(self):
        self.emails, self.hosts = set(), set()
        self.numbers, self.words, self.whole = set(), set(), set()
        self.counts = {"email": 0, "phone": 0, "identifier": 0}
        self.too_short = 0

    def add(self, kind, value):
        if not isinstance(value, str) or not value.strip():
            return
        text = value.strip().casefold().encode()
        digits = b"".join(GROUP.findall(text))
        if kind == "email":
            if len(text) < IDENTIFIER_MIN or b"@" not in text:
                self.too_short += 1
                return
            self.emails.add(text)
            self.hosts.add(text.rpartition(b"@")[2])
        elif kind == "phone":
            digits = b"".join(GROUP.findall(re.split(rb"\s*(?:x|ext)", text)[0])) or digits
            if len(digits) < DIGITS_MIN:
                self.too_short += 1
                return
            self.numbers.add(national(digits))
        else:
            if len(text) < IDENTIFIER_MIN:
                self.too_short += 1
                return
            (self.words if WORD.fullmatch(text) else self.whole).add(text)
            # A social security number and the like: known by its digits, however they are punctuated.
            if len(digits) >= DIGITS_MIN and not re.search(rb"[a-z]", text):
                self.numbers.add(national(digits))
        self.counts[kind] += 1

    def __len__(self):
        return sum(self.counts.values())

    def in_bytes(self, data):
        """The kinds of originals found in some bytes, each with its place."""
        if self.emails:
            for match in AT.finditer(data):
                if self.email_at(data, match):
                    yield "email", match.start()
        if self.numbers:
            for match in NUMBER.finditer(data):
                if self.number_in(match.group()):
                    yield "number", match.start()
        if self.words:
            for match in WORD.finditer(data):
                if match.group().lower() in self.words:
                    yield "identifier", match.start()

    def in_text(self, text):
        """The kinds of originals found in one text field."""
        data = text.encode()
        found = {kind for kind, _ in self.in_bytes(data)}
        if self.whole and text.strip().casefold().encode() in self.whole:
            found.add("identifier")
        return found

    def email_at(self, data, match):
        following = match.group(1).lower()
        # The host may be followed by more than it has, in prose by a full stop, in a column of values by the next one.
        for size in range(len(following), 2, -1):
            host = following[:size]
            if host not in self.hosts:
                continue
            before = data[max(0, match.start() - LOCAL_PART_MAX) : match.start()]
            local = LOCAL.search(before).group().decode("utf-8", "ignore").casefold().encode()
            if any(local[start:] + b"@" + host in self.emails for start in range(len(local))):
                return True
        return False

    def number_in(self, run):
        groups = GROUP.findall(run)
        for first in range(len(groups)):
            digits = b""
            for piece in groups[first:]:
                digits += piece
                if len(digits) > DIGITS_MAX:
                    break
                if len(digits) >= DIGITS_MIN and (digits in self.numbers or national(digits) in self.numbers):
                    return True
        return False


def national(digits):
    """Without the North American country code or an international prefix, so that both spellings meet."""
    if digits.startswith(b"00") and len(digits) > 11:
        digits = digits[2:]
    if len(digits) == 11 and digits.startswith(b"1"):
        return digits[1:]
    return digits


def scan_files(originals, paths):
    """Scans files and directories; returns (files read, bytes read, {(path, kind): count})."""
    files, size, hits = 0, 0, {}
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(path)
        for name in [path] if os.path.isfile(path) else walk(path):
            try:
                with open(name, "rb") as file:
                    length = os.fstat(file.fileno()).st_size
                    if not length:
                        continue
                    files, size = files + 1, size + length
                    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                        for kind, _ in originals.in_bytes(data):
                            hits[name, kind] = hits.get((name, kind), 0) + 1
            except FileNotFoundError:
                continue  # a running server removes files
    return files, size, hits


def walk(path):
    for folder, _, names in os.walk(path, onerror=raise_error):
        for name in names:
            full = os.path.join(folder, name)
            if os.path.isfile(full) and not os.path.islink(full):
                yield full


def raise_error(error):
    raise error
