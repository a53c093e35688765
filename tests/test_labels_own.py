"Studies without labels: every classifier's own answer on the original is true for it. And the table of kept answers, which every study has."
import re, shutil

import numpy as np, pandas as pd, pytest, torch

from aeclf.crosseval import CrossEval, by_own_answers, kept_answers, kept_kappa
from aeclf.reading import chance_sentence
from aeclf.report import write_report
from aeclf.rrc import WORDS, bootstrap, rrc
from aeclf.stages import run_stages
from aeclf.store import digest, save_weights, seeded
from aeclf.study import Config, Study, configure
from conftest import aeclf, one_line, without_digests

NETS = 'from torch import nn\ndef make(n_classes): return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, n_classes))\n'


class Colours(torch.nn.Module):
    "Which of three colours is strongest? Nothing has to be learnt for that."
    def __init__(self, names=3):
        super().__init__()
        self.scale, self.names = torch.nn.Parameter(torch.tensor(20.)), names

    def forward(self, x): return self.scale*x.mean((2, 3))[:, :self.names]


class Parts(torch.nn.Module):
    "Which of nine parts of the picture is brightest?"
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(20.))

    def forward(self, x): return self.scale*torch.nn.functional.adaptive_avg_pool2d(x, 3).mean(1).flatten(1)


def small(data, **more): return Config(data=data, classifiers={}, size=32, quick=True, bs=8, widths=(8, 16), convs=(1, 1), panels=2,
                                       epochs=dict(classifiers=1, autoencoder=3, decoders=3), labels='own', read_along=True, **more)


@pytest.fixture(scope='module')
def networks(): return {'colours': Colours(), 'halves': Colours(2), 'parts': Parts()}


@pytest.fixture(scope='module')
def handed(pictures, networks):
    "A study of three networks that tell three, two and nine things apart, handed over, on a folder of two classes."
    study = Study(small(f'folder:{pictures}'), pictures.parent/'handed', 'cpu', networks=networks)
    study.run(done=lambda *args: None)
    return study


def test_networks_with_different_classes_beside_each_other(handed):
    crosseval = handed.crosseval
    assert crosseval.truth == 'own' and (crosseval.accuracy().loc['original'] == 1).all()
    assert crosseval.labels.shape == (len(crosseval.ids), 3) and crosseval.labels.max(0).tolist()[1:] <= [1, 8]
    assert (crosseval.labels.T == crosseval.predictions[0]).all() and (crosseval.hits == (crosseval.predictions == crosseval.predictions[0])).all()
    assert [len(handed.classes(n)) for n in handed.config.classifiers] == [3, 2, 9]
    pd.testing.assert_frame_equal(kept_answers(crosseval), crosseval.accuracy())
    pd.testing.assert_frame_equal(handed.rrc(), rrc(crosseval.accuracy()))


def test_decoders_learn_to_keep_the_answers(handed):
    for name in handed.config.classifiers:
        history = handed.history(f'A_{name}')
        assert history.valid_loss.iloc[-1] < history.valid_loss[0]
        assert history[name].to_numpy() == pytest.approx(history.accuracy.to_numpy(), abs=1e-6)


def test_answers_are_compared_where_the_classes_are_the_same(handed):
    files = {p.stem for p in (handed.path/'evidence').iterdir()}
    assert 'kept_kappa' in files and not files & {'kept', 'agreement', 'per_class'}
    assert handed.progress() and all(entry for _,entry,_ in handed.progress())


def test_what_is_taken_for_the_same_is_noted(pictures, tmp_path):
    "Classes without names are compared number by number; pictures that A_S has seen are measured: both are said."
    config = small(f'images:{pictures}', pretrain=f'folder:{pictures}')
    study = Study(config, tmp_path/'noted', 'cpu', networks={'one': Colours(), 'other': Colours(), 'third': Parts()})
    study.prepare()
    notes = (study.path/'notes.txt').read_text()
    assert 'one, other: nobody has named their 3 classes' in notes and 'third: nobody' not in notes
    assert f'{len(study.images.valid_ds)} of the measured pictures are among those that A_S is pre-trained on' in notes


def test_the_same_classes_in_another_order_are_compared_by_name(pictures, tmp_path):
    one,other = Colours(), torch.nn.Sequential(Colours(), Turned())
    one.classes,other.classes = ['red', 'green', 'blue'], ['blue', 'red', 'green']
    study = Study(small(f'images:{pictures}'), tmp_path/'turned', 'cpu', networks={'one': one, 'other': other, 'parts': Parts()})
    study.run(done=lambda *args: None)
    told = study.table('evidence/agreement').reset_index()
    assert set(zip(told.column, told.other)) == {('one', 'other')} and (told.same == 1).all()
    assert {'red', 'green', 'blue'} >= set(study.table('evidence/per_class')['class'])
    assert not (study.path/'notes.txt').is_file() or 'nobody has named' not in (study.path/'notes.txt').read_text()


class Turned(torch.nn.Module):
    def forward(self, x): return x[:, [2, 0, 1]]


def test_decoders_in_one_pass_keep_the_answers_of_each(pictures, networks, tmp_path):
    study = Study(small(f'folder:{pictures}', together=True), tmp_path/'at_once', 'cpu', networks=networks)
    study.run(done=lambda *args: None)
    assert 'decoders' in study.ledger.entries and (study.accuracy.loc['original'] == 1).all()
    test_decoders_learn_to_keep_the_answers(study)


def measured(study, *more):
    "The study as far as the cross-evaluation, and the stages `more`."
    study.prepare()
    wanted = ('classifier', 'autoencoder', 'decoder', 'cross-evaluation', *more)
    run_stages(study.ledger, [s for s in study.stages if s.name.startswith(wanted)], done=lambda *args: None)
    return study


def test_no_label_is_read(networks, tmp_path, handed):
    "With labels that are right, and with some that are none, the same comes out."
    train, valid = list(handed.images.train_ds), list(handed.images.valid_ds)
    wrong = [(x, None) for x,_ in train], [(x, 'a word') for x,_ in valid]
    one, other = (measured(Study(small('photos'), tmp_path/f'{k}', 'cpu', networks=networks, images=o)) for k,o in enumerate(((train, valid), wrong)))
    assert one.config == other.config
    assert digest(one.path/'decoders'/'parts.safetensors') == digest(other.path/'decoders'/'parts.safetensors')
    assert (one.crosseval.ranks == other.crosseval.ranks).all() and (one.crosseval.labels == other.crosseval.labels).all()


def test_the_report_speaks_of_answers_that_are_kept(handed):
    page = write_report(handed).read_text()
    text = re.sub(r'<[^>]+>', ' ', re.sub(r'(?s)<script.*?</script>|<style.*?</style>', '', page))
    for words in ('Answers kept', 'kept(A', 'still says the same of', 'no labels', 'κ of answers kept', 'chance is the share of its most frequent answer'):
        assert words in ' '.join(text.split()), words
    assert re.findall('recognis|[Tt]op-[15]|accuracies|Accuracy|curacy of', text) == []


def test_one_that_always_says_the_same_keeps_everything_and_is_at_chance(pictures, tmp_path):
    class Stubborn(Colours):
        def forward(self, x): return super().forward(x)+torch.tensor([100., 0, 0])
    study = measured(Study(small(f'folder:{pictures}'), tmp_path/'study', 'cpu', networks={'stubborn': Stubborn(), 'parts': Parts()}), 'RRC', 'evidence')
    assert (study.accuracy.stubborn == 1).all() and study.boot.chance['stubborn'] == 1
    assert kept_kappa(study.crosseval).stubborn.isna().all()
    assert any('stubborn' in note and 'says little' in note for note in study.notes)
    assert 'no order, as stubborn' in study.ledger.entries['evidence']['result']
    assert 'stubborn keeps its answer on its own autoencoder for 1.00 of the images' in chance_sentence(study.boot)


def test_from_the_command_line(pictures, tmp_path):
    "Two networks of 9 and 7 classes, as files, on a folder of two classes."
    import timm
    with seeded(0): large, own = timm.create_model('test_resnet', num_classes=9), torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 7))
    torch.save(large.state_dict(), tmp_path/'large.pth')
    save_weights(tmp_path/'own.safetensors', own)
    (tmp_path/'nets.py').write_text(NETS)
    args = ['run', '--labels', 'own', '--data', f'folder:{pictures}', '--classifiers', 'timm/test_resnet:large.pth,mine=nets.py:make:own.safetensors', '--size', '32', '--quick', '--epochs', '1,1,2', '--out', 'study']
    result = aeclf(tmp_path, *args)
    assert result.returncode == 0, result.stderr
    assert re.search('decoder mine       epoch 1 of 2: .*, kept [01]', result.stdout)
    assert 'answers kept\n' in result.stdout and 'accuracy' not in result.stdout and 'no labels' in result.stdout.splitlines()[1]
    assert 'nothing was trained' in aeclf(tmp_path, *args).stdout
    accuracy = pd.read_csv(tmp_path/'study'/'crosseval'/'accuracy.csv', index_col=0)
    assert (accuracy.loc['original'] == 1).all()
    page = (tmp_path/'study'/'report.html').read_text()
    assert '--labels own' in page and 'quick run' in page
    again = aeclf(tmp_path, *args, '--controls')
    assert again.returncode == 0, again.stderr
    assert 'gain of every classifier' in again.stdout and {p.stem for p in (tmp_path/'study'/'controls').iterdir()} == {'M', 'N_mine', 'N_test_resnet'}
    for command in (['status', 'study'], ['report', 'study'], ['reconstruct', pictures/'coffee'/'02.png', '--study', 'study']):
        assert aeclf(tmp_path, *command).returncode == 0


@pytest.mark.parametrize('args, words', [
    (['--labels', 'own'], ["classifier 'L'", 'needs labels; give weights', 'L=small/lenet5:FILE']),
    (['--labels', 'own', '--classifiers', 'timm/resnet18'], ["classifier 'resnet18'", 'needs labels; give weights']),
    (['--labels', 'owm'], ["'owm'", "did you mean 'own'"]), (['--labels', 'XYZ'], ['choose from data, own'])])
def test_what_is_refused(tmp_path, args, words):
    one_line(aeclf(tmp_path, 'run', *args), *words)
    assert list(tmp_path.iterdir()) == []


def test_with_labels_a_study_has_the_table_of_kept_answers(pictures, tmp_path):
    study = Study(configure(f'folder:{pictures}', 'L,R', 32, '1,1,1', quick=True), tmp_path/'study', 'cpu')
    study.run(done=lambda *args: None)
    kept, crosseval = study.table('evidence/kept'), study.crosseval
    for o in kept.reset_index().itertuples():
        i, j = crosseval.rows.index(o.row), crosseval.columns.index(o.column)
        said = crosseval.predictions[:, j]
        assert o.mean == pytest.approx((said[i] == said[0]).mean(), abs=0.02) and o.low <= o.mean <= o.high
    assert crosseval.truth == 'data' and study.boot.words == WORDS['data']
    page = write_report(study).read_text()
    assert 'Answers kept: how often' in page and 'κ of answers kept' in page and 'Top-1 accuracy' in page
    for file in ('kept', 'kept_kappa'):   # a study of before has neither, nor has its ledger noted what was left
        (study.path/'evidence'/f'{file}.csv').unlink()
    without_digests(study.path)
    text = (study.path/'stages.json').read_text()
    (study.path/'stages.json').write_text(re.sub(r',\s*"left": \[[^]]*\]', '', text))
    before = Study.open(study.path, 'cpu')
    assert before.run(done=lambda *args: None) == [] and 'Answers kept' not in write_report(before).read_text()


def test_kappa_by_hand():
    rng = np.random.default_rng(0)
    said = rng.integers(0, 5, (3, 2, 400))
    said[2] = np.where(rng.random((2, 400)) < 0.7, said[0], said[2])
    cross = CrossEval(said, said, ['original', 'S', 'a'], ['a', 'b'], said[0, 0])
    kept, kappa = kept_answers(cross), kept_kappa(cross)
    for a,i in enumerate(cross.rows):
        for b,j in enumerate(cross.columns):
            p, q = (np.bincount(said[r, b], minlength=5)/400 for r in (0, a))
            assert kappa.loc[i, j] == pytest.approx((kept.loc[i, j]-p@q)/(1-p@q))
    assert abs(kappa.loc['S']).max() < 0.1 and (kappa.loc['a'] > 0.6).all()
    boot = bootstrap(by_own_answers(CrossEval(said, said, ['original', 'a', 'b'], ['a', 'b'], said[0, 0])), n=50)
    assert boot.words == WORDS['own'] and boot.chance['a'] == np.bincount(said[0, 0]).max()/400


def test_pictures_without_classes(pictures, tmp_path, networks):
    study = measured(Study(small(f'images:{pictures}'), tmp_path/'study', 'cpu', networks=dict(parts=networks['parts'])))
    assert (study.accuracy.loc['original'] == 1).all() and len(study.classes('parts')) == 9
    save_weights(tmp_path/'parts.safetensors', networks['parts'])
    args = ['run', '--data', f'images:{pictures}', '--size', '32', '--quick', '--out', 'by_command', '--classifiers']
    one_line(aeclf(tmp_path, *args, 'timm/test_resnet:parts.safetensors', '--labels', 'data'), 'have no labels', '--labels own')
    one_line(aeclf(tmp_path, *args, 'L'), "classifier 'L' has to be trained, and that needs labels")
    (tmp_path/'nets.py').write_text(NETS)
    with seeded(0): save_weights(tmp_path/'own.safetensors', torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 7)))
    result = aeclf(tmp_path, *args, 'mine=nets.py:make:own.safetensors')
    assert result.returncode == 0 and 'no labels' in result.stdout, result.stderr
