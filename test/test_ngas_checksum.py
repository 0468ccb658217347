"""Checksums by all their names."""

from __future__ import annotations

import pytest

from pyvospace_ngas.ngas.checksum import NUMBERS, Crc, UnknownVariant, Variant, named, same

THOUSAND_A = b"A" * 1000  # the real server's answers for these bytes are in the table


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("0", Variant.CRC32),
        ("crc32", Variant.CRC32),
        ("ngamsGenCrc32", Variant.CRC32),
        ("StreamCrc32", Variant.CRC32),
        ("1", Variant.CRC32C),
        ("crc32c", Variant.CRC32C),
        ("2", Variant.CRC32Z),
        ("crc32z", Variant.CRC32Z),
        ("-1", Variant.NONE),
        ("none", Variant.NONE),
        ("None", Variant.NONE),
        ("", Variant.NONE),
    ],
)
def test_every_name_means_its_variant(name: str, variant: Variant) -> None:
    assert named(name) is variant


@pytest.mark.parametrize("name", ["md5", "3", "CRC32C", "-2"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownVariant):
        named(name)


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        (Variant.CRC32, "1369452033"),
        (Variant.CRC32C, "2368557860"),
        (Variant.CRC32Z, "1369452033"),
        (Variant.NONE, ""),
    ],
)
def test_pieces_sum_up_to_what_the_real_server_answers(variant: Variant, text: str) -> None:
    crc = Crc(variant)
    for piece in (THOUSAND_A[:1], bytearray(THOUSAND_A[1:300]), memoryview(THOUSAND_A)[300:]):
        crc.update(piece)
    assert crc.text == text


@pytest.mark.parametrize(
    ("variant", "a", "b", "agree"),
    [
        ("crc32c", "2368557860", 2368557860, True),
        ("crc32c", "2368557860", "2368557861", False),
        ("crc32c", -1926409436, 2368557860, False),
        ("crc32", "-1926409436", "2368557860", True),
        ("ngamsGenCrc32", 2368557860, -1926409436, True),
        ("crc32", 1, 2, False),
        ("crc32z", "-1926409436", "2368557860", False),
        ("crc32c", "", "", False),
        ("crc32c", "None", 0, False),
        ("none", "1", "1", False),
    ],
)
def test_checksums_are_compared_by_their_variant(
    variant: str, a: str | int, b: str | int, agree: bool
) -> None:
    assert same(variant, a, b) is agree


def test_every_variant_has_a_number_for_requests() -> None:
    assert {variant: named(str(number)) for variant, number in NUMBERS.items()} == {
        variant: variant for variant in Variant
    }
