"""Sketches: what is kept of vectors, and how well."""

from __future__ import annotations

import math

import torch

from emoe_audit.scoring.sketch import BUCKETS, sketch


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_inner_products_are_kept_with_the_error_that_is_stated() -> None:
    x, y = drawn(200, 4000, seed=1), drawn(200, 4000, seed=2)
    errors = (sketch(x) * sketch(y)).sum(dim=1) - (x * y).sum(dim=1)
    stated = x.norm(dim=1) * y.norm(dim=1) / math.sqrt(BUCKETS)
    assert (errors.abs() < 4 * stated).all()
    assert 0.8 < (errors / stated).std() < 1.2


def test_inner_products_are_right_on_the_mean_of_many_sketches() -> None:
    """Zeros behind the vectors change nothing but their number of elements, and with it the buckets and signs."""
    x = drawn(500, seed=1)
    y = 0.5 * x + drawn(500, seed=2)
    estimates = []
    for n_zeros in range(100):
        both = torch.nn.functional.pad(torch.stack([x, y]), (0, n_zeros))
        estimates.append(float(sketch(both).prod(dim=0).sum()))
    found = torch.tensor(estimates)
    assert abs(found.mean() - x @ y) < 4 * found.std() / math.sqrt(100)
    assert len(set(estimates)) == 100


def test_every_element_goes_to_one_bucket_with_a_sign() -> None:
    rows = sketch(torch.eye(3000))
    assert ((rows != 0).sum(dim=1) == 1).all()
    assert (rows.abs().sum(dim=1) == 1).all()
    assert abs(int((rows == 1).sum()) - 1500) < 4 * math.sqrt(3000) / 2
    expected = 3000 / BUCKETS
    in_bucket = (rows != 0).sum(dim=0)
    chi_squared = float((in_bucket - expected).square().sum() / expected)
    assert abs(chi_squared - (BUCKETS - 1)) < 4 * math.sqrt(2 * (BUCKETS - 1)), "the buckets are filled evenly"


def test_a_sketch_is_linear() -> None:
    x, y = drawn(3, 700, seed=1), drawn(3, 700, seed=2)
    torch.testing.assert_close(sketch(2 * x - 3 * y), 2 * sketch(x) - 3 * sketch(y), rtol=1e-4, atol=1e-4)


def test_a_vector_has_the_same_sketch_each_time_and_in_any_batch() -> None:
    x = drawn(5, 700)
    torch.manual_seed(1)
    first = sketch(x)
    state = torch.get_rng_state()
    torch.testing.assert_close(sketch(x[3:4]), first[3:4], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state), "it draws from no generator but its own"
    torch.manual_seed(2)
    assert torch.equal(sketch(x), first)


def test_half_precision_is_added_up_in_float32() -> None:
    x = drawn(2, 20_000).abs().half()
    assert torch.equal(sketch(x), sketch(x.float()))
    assert sketch(x).dtype == torch.float32
    assert sketch(x[:0]).shape == (0, BUCKETS)
