import numpy as np

from tests.support.phantom import drawn_head


def test_the_same_seed_draws_the_same_head() -> None:
    first, second, other = drawn_head(1), drawn_head(1), drawn_head(2)
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], other[0])


def test_the_tumour_is_a_bright_part_of_the_head() -> None:
    for seed in range(5):
        pixels, mask = drawn_head(seed)
        assert pixels.shape == mask.shape == (512, 512)
        assert pixels.dtype == np.uint8
        assert 0.01 < mask.mean() < 0.08
        assert pixels[mask].mean() > 1.4 * pixels[(pixels > 60) & ~mask].mean()
