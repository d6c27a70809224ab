"""Output is cut between characters."""

import pytest

from colchis_master.service.logs import whole_text


@pytest.mark.parametrize("size", range(1, 8))
def test_text_read_piece_by_piece_is_whole(size: int) -> None:
    data = "aä€😀\n".encode() * 3
    text, offset = "", 0
    for _ in range(100):
        chunk = data[offset : offset + max(4, size)]
        piece, left = whole_text(chunk, final=offset + len(chunk) == len(data))
        text += piece
        offset += len(chunk) - left
    assert text == data.decode()


def test_what_is_no_utf_8_is_replaced_and_not_waited_for() -> None:
    assert whole_text(b"a\xffb", final=False) == ("a\ufffdb", 0)
    assert whole_text(b"a\xe2\x82", final=False) == ("a", 2)
    assert whole_text(b"a\xe2\x82", final=True) == ("a\ufffd", 0)
