"""Server-sent events from bytes as they come: split anywhere, also inside a character or between CR and LF."""


class EventReader:
    """Gives each event's data as soon as the blank line after it is there. Comments and other fields are skipped."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._ended_in_cr = False
        self._is_first_line = True

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that `piece` completes."""
        if self._ended_in_cr and piece.startswith(b"\n"):
            # The other half of a line end that has been seen as one.
            piece = piece[1:]
            self._ended_in_cr = False
        if piece:
            self._ended_in_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._line += piece
        if b"\n" not in piece:
            return []
        *lines, rest = bytes(self._line).split(b"\n")
        self._line = bytearray(rest)
        events = []
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events

    def rest(self) -> bytes:
        """The data of an event that the stream's end left without its blank line; empty when there is none."""
        if self._line:
            self._take(bytes(self._line))
            self._line.clear()
        data, self._data = b"\n".join(self._data), []
        return data

    def _take(self, line: bytes) -> None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            if value:
                self._data.append(value)
