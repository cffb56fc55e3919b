"""Values, elements and messages: numbers, or structures by the names of their fields."""
import struct

from .layout import FORMATS


class Schema:
    """A structure, from a schema such as `{bets:u64@0,name:u8*16@8}`."""

    def __init__(self, text):
        self._text, self._at = text, 0
        try:
            self.fields = self._structure()
        except (IndexError, KeyError, RecursionError):
            raise self._error() from None
        if self._at != len(text):
            raise self._error()
        self.size = _size(self.fields)
        if not self.size:
            raise self._error()

    def _error(self):
        return ValueError(f"schema {self._text!r} makes no sense at character {self._at}")

    def _structure(self):
        """Reads `{field,...}` and returns a list of name, type, count and offset. The type of a
        field is the name of a number type, or such a list again."""
        self._expect("{")
        fields = [self._field()]
        while self._text[self._at] == ",":
            self._at += 1
            fields.append(self._field())
        self._expect("}")
        return fields

    def _field(self):
        name = self._until(":")
        self._expect(":")
        of = self._structure() if self._text[self._at] == "{" else self._until("*@")
        if isinstance(of, str):
            FORMATS[of]  # KeyError for an unknown type
        count = 1
        if self._text[self._at] == "*":
            self._at += 1
            count = self._number("@")
        self._expect("@")
        return name, of, count, self._number(",}")

    def _expect(self, character):
        if self._text[self._at] != character:
            raise self._error()
        self._at += 1

    def _until(self, ends):
        start = self._at
        while self._text[self._at] not in ends:
            self._at += 1
        return self._text[start : self._at]

    def _number(self, ends):
        digits = self._until(ends)
        # More digits than any size has would take long to convert.
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
            raise self._error()
        return int(digits)

    def read(self, data):
        """Returns the structure at the start of these bytes as a dictionary."""
        return _read(self.fields, data, 0)


def _size(of):
    """Returns the bytes of a type. A structure has no padding, so it ends with one of its fields."""
    if isinstance(of, str):
        return struct.calcsize(FORMATS[of])
    return max(offset + count * _size(each) for _, each, count, offset in of)


def _read(of, data, start):
    if isinstance(of, str):
        return struct.unpack_from("=" + FORMATS[of], data, start)[0]
    read = {}
    for name, each, count, offset in of:
        size = _size(each)
        values = [_read(each, data, start + offset + index * size) for index in range(count)]
        read[name] = values if count != 1 else values[0]
    return read


def element_bytes(of):
    """Returns the bytes of an element of this object."""
    if of.type not in FORMATS:
        raise ValueError(f"object {of.name!r} has an unknown type of elements")
    return struct.calcsize(FORMATS[of.type])


def read_all(of, data):
    """Returns the numbers or structures that these bytes consist of, as a list."""
    if of.fields is None:
        element_bytes(of)
        return memoryview(data).cast(FORMATS[of.type]).tolist() if len(data) else []
    schema = Schema(of.fields)
    if len(data) % schema.size:
        raise ValueError(f"object {of.name!r} does not consist of whole structures")
    return [schema.read(data[start : start + schema.size]) for start in range(0, len(data), schema.size)]


def read_one(of, data):
    """Returns a value or a message: a number or structure, or a list if it is an array."""
    values = read_all(of, data)
    return values[0] if len(values) == 1 else values
