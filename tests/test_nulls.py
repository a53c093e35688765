"What a table may say: the nulls, the transfer and chance against brute force, and the sentences made of them."
from itertools import combinations
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest

from aeclf.confidence import (above_chance, affinity, chance_marks, gain_shares, null_rrc, order_explained,
                              permuted_rrc, read_by_others, transfer)
from aeclf.contexts import formal_context, is_chain
from aeclf.reading import answer_sentences, chance_sentence, draws_sentence, order_sentence
from aeclf.rrc import bootstrap, rrc, serves
from aeclf.store import BadInput

NAMES = ['sq', 'm1', 'm2', 'e0']   # four published networks, one run: rows original, S, then their autoencoders
PUBLISHED = pd.DataFrame([[.483, .622, .826, .891], [.098, .248, .314, .420], [.196, .287, .375, .421],
                          [.114, .346, .444, .524], [.104, .313, .510, .556], [.066, .295, .442, .612]],
                         ['original', 'S', *NAMES], NAMES)


def simulated(accuracy, n=300, seed=0):
    "A cross-evaluation whose hits have these probabilities."
    hit = np.random.default_rng(seed).uniform(size=(*accuracy.shape, n)) < accuracy.to_numpy()[..., None]
    return SimpleNamespace(ranks=np.where(hit, 0, 3), rows=list(accuracy.index), columns=list(accuracy.columns), groups=np.arange(n))


def random_accuracy(k, rng):
    names = [f'n{i}' for i in range(k)]
    return pd.DataFrame(rng.uniform(0.1, 0.95, (k+2, k)), ['original', 'S', *names], names)


def square(tidy, names): return tidy.pivot(index='row', columns='column', values='mean').loc[names, names].to_numpy()


@pytest.mark.parametrize('k', [2, 3, 6])
def test_every_cell_by_hand(k):
    acc = random_accuracy(k, np.random.default_rng(k))
    names = list(acc)
    null1, null2 = null_rrc(acc, 1), null_rrc(acc, 2)
    t, g = square(transfer(acc), names), square(gain_shares(acc), names)
    for a, i in enumerate(names):
        for b, j in enumerate(names):
            assert t[a, b] == pytest.approx(acc.loc[i, j]-acc.loc['S', j])
            own = acc.loc[j, j]-acc.loc['S', j]
            assert g[a, b] == pytest.approx(t[a, b]/own) if own > 0 else np.isnan(g[a, b])
            least = min(acc.loc[i, i], acc.loc[j, j])
            mean = np.mean([acc.loc[o, j] for o in names if o != j])
            assert null1.loc[i, j] == pytest.approx(1 if i == j else acc.loc['S', j]/least)
            assert null2.loc[i, j] == pytest.approx(1 if i == j else mean/least)


def test_rrc_beyond_null_1_is_the_transfer():
    acc = random_accuracy(5, np.random.default_rng(0))
    names = list(acc)
    own = np.diag(acc.loc[names])
    beyond = (rrc(acc)-null_rrc(acc, 1)).to_numpy()*np.minimum.outer(own, own)
    off = ~np.eye(5, dtype=bool)
    assert beyond[off] == pytest.approx(square(transfer(acc), names)[off], abs=1e-10)


def test_null_1_is_nested_off_the_diagonal_at_every_t():
    for seed in range(20):
        acc = random_accuracy(6, np.random.default_rng(seed))
        null = null_rrc(acc, 1)
        by_own = pd.Series(np.diag(acc.loc[list(acc)]), list(acc)).sort_values().index
        for t in {*null.to_numpy().ravel(), 0.8, 1.0}:
            served = serves(null, t)
            for weak, strong in combinations(by_own, 2):
                rest = [j for j in acc if j not in (weak, strong)]
                assert (served.loc[strong, rest] <= served.loc[weak, rest]).all()


def test_null_1_is_exact_at_a_threshold():
    acc = pd.DataFrame({'W': [1, 0.72, 0.9, 0.1], 'B': [1, 0.5, 0.1, 0.95]}, index=['original', 'S', 'W', 'B'])
    assert serves(null_rrc(acc, 1), 0.8).loc['B', 'W']   # 0.72/0.90, which is 0.7999… in floats


def test_permutations_keep_columns_and_the_diagonal():
    acc = random_accuracy(4, np.random.default_rng(3))
    own = np.diag(acc.loc[list(acc)])
    least = np.minimum.outer(own, own)
    cells = permuted_rrc(acc, 50, seed=1)*least
    for j, name in enumerate(acc):
        kept = np.delete(acc.loc[list(acc), name].to_numpy(), j)
        for one in cells:
            assert np.sort(np.delete(one[:, j], j)) == pytest.approx(np.sort(kept), abs=1e-9)
            assert one[j, j] == pytest.approx(own[j])
    assert len(np.unique(cells.round(9), axis=0)) > 20
    assert (permuted_rrc(acc, 50, seed=1) == permuted_rrc(acc, 50, seed=1)).all()


@pytest.mark.parametrize('k', [3, 5])
def test_affinity_is_what_least_squares_leave(k):
    acc = random_accuracy(k, np.random.default_rng(k))
    names = list(acc)
    gamma = square(affinity(acc), names)
    off = ~np.eye(k, dtype=bool)
    i, j = np.nonzero(off)
    design = np.hstack([np.eye(k)[i], np.eye(k)[j]])
    logs = np.log(acc.loc[names].to_numpy())[off]
    left = logs-design @ np.linalg.lstsq(design, logs, rcond=None)[0]
    assert gamma[off] == pytest.approx(left, abs=1e-9) and np.isnan(np.diag(gamma)).all()
    filled = np.where(off, gamma, 0)
    assert filled.sum(0) == pytest.approx(np.zeros(k), abs=1e-9) and filled.sum(1) == pytest.approx(np.zeros(k), abs=1e-9)


def test_order_explained_counts_pairs():
    acc = random_accuracy(5, np.random.default_rng(1))
    def pairs(table):
        served = serves(table, 0.8)
        return {(i, k) for i in served.index for k in served.index
                if (served.loc[k] <= served.loc[i]).all() and (served.loc[k] < served.loc[i]).any()}
    real, told = pairs(rrc(acc)), order_explained(acc, 0.8)
    assert (told.pairs == len(real)).all()
    assert told.same.tolist() == [len(real & pairs(null_rrc(acc, which))) for which in (1, 2)]
    assert order_explained(acc, 0.0).share.isna().all()   # all serve all: no order


def test_draws_tests_and_their_correction():
    boot = bootstrap(simulated(PUBLISHED), n=800)
    t = transfer(boot)
    off = t.query('row!=column')
    for o in off.itertuples():
        draws = boot.accuracies[o.row, o.column]-boot.accuracies['S', o.column]
        assert [o.low, o.high] == pytest.approx(np.quantile(draws, boot.tails))
        assert o.mean == pytest.approx(draws.mean())
    assert (off.p_holm >= off.p).all() and t.query('row==column').p_holm.isna().all() and off.p_holm.notna().all()
    assert off.p.min() > 0 and off.p.max() <= 1


def test_who_needs_what():
    alone = PUBLISHED.drop(index='S')
    for asked in (transfer, gain_shares, lambda acc: null_rrc(acc, 1), order_explained):
        with pytest.raises(BadInput, match="no row 'S'"): asked(alone)
    assert np.isfinite(null_rrc(alone, 2)).all(axis=None)   # it knows nothing of S
    with pytest.raises(BadInput, match='three or more'): affinity(PUBLISHED.loc[['sq', 'm1'], ['sq', 'm1']])
    with pytest.raises(BadInput, match="no row 'original'"): read_by_others(PUBLISHED.drop(index='original'))


HASTY = PUBLISHED.copy()
HASTY.loc['sq', 'sq'], HASTY.loc['m1', 'sq'] = 0.01, 0.06


@pytest.mark.parametrize('accuracy, classes, lost', [
    (PUBLISHED, 1000, []), (PUBLISHED, None, []), (PUBLISHED, 5, ['sq']),
    (HASTY, None, ['sq']), (HASTY, 1000, ['sq']), (PUBLISHED, dict(sq=5, m1=1000, m2=1.5, e0=1000), ['sq', 'm2'])])
def test_chance(accuracy, classes, lost):
    for source in (accuracy, bootstrap(simulated(accuracy), n=500)):
        clear = above_chance(source, classes).clear
        assert list(clear.index[~clear]) == lost
        marks = chance_marks(source, classes)
        assert all(marks.loc[i, j] == (not (clear[i] and clear[j])) for i in NAMES for j in NAMES)
        assert bool(chance_sentence(source, classes)) == (not clear.all())


def test_a_table_at_chance_says_so_before_all_else():
    boot = bootstrap(simulated(HASTY), n=500)
    for said in (answer_sentences(rrc(HASTY), boot=boot), answer_sentences(rrc(HASTY), accuracy=HASTY), [draws_sentence(boot)]):
        assert said[0].startswith('This table carries no order: sq reads its own autoencoder at 0.0')
        assert 'train A_S longer' in said[0] and 'larger autoencoder' in said[0]
    assert not any('no order:' in o for o in answer_sentences(rrc(PUBLISHED), accuracy=PUBLISHED, classes=1000))


def test_most_and_least_are_said_of_what_is_read():
    "By RRC A_sq stands first, as its own accuracy is the smallest; the others read it worst."
    said = answer_sentences(rrc(PUBLISHED), 1, accuracy=PUBLISHED, classes=1000)
    by_rrc, read = said[1].split('By what is read')
    assert 'A_sq has the highest mean' in by_rrc and 'most' not in by_rrc and 'least' not in by_rrc
    assert 'least on A_sq' in read and 'most of their accuracy on the originals on A_m2' in read
    assert 'gain most on A_m2' in read and is_chain(formal_context(rrc(PUBLISHED), 1))
    assert any(o.startswith('Of the order at t = 1, 67% is what the accuracies alone would give') for o in said)


def test_two_classifiers_are_never_most_or_least():
    two = PUBLISHED.loc[['original', 'S', 'sq', 'e0'], ['sq', 'e0']]
    boot = bootstrap(simulated(two), n=300)
    for said in (answer_sentences(rrc(two), accuracy=two), answer_sentences(rrc(two), boot=boot)):
        assert 'e0 reads A_sq at' in said[1] and 'most' not in said[1] and 'least' not in said[1]
    assert 'any other decoder' not in order_sentence(two)
