"An A_S that comes ready-made: with the package, or from another study."
import shutil

import pandas as pd, pytest, torch
from safetensors.torch import save_file

from aeclf.config import configure
from aeclf.store import digest, file_digest
from aeclf.study import Study
from aeclf.workspace import ready_autoencoders
from conftest import aeclf, one_line

tiny = ['--classifiers', 'L', '--epochs', '1,9,1', '--size', '32']


@pytest.fixture(scope='module')
def ready(pictures):
    "A finished study with the autoencoder of the package, and what its run printed."
    where = pictures.parent/'ready'
    return where, aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--autoencoder', 'segnet:small-224', '--out', where)


def test_the_one_of_the_package_is_measured_and_not_trained(ready, pictures):
    where, result = ready
    assert result.returncode == 0, result.stderr
    assert 'as it came from small-224' in result.stdout and 'autoencoder S      epoch' not in result.stdout
    history = pd.read_csv(where/'history'/'S.csv')
    assert len(history) == 1 and history.valid_loss[0] < 0.3   # an untrained one is at 1
    page = (where/'report.html').read_text()
    assert 'segnet:small-224, ready-made' in page and 'autoencoder 9' not in page and 'It has learnt before' in page and 'First it learns' not in page
    study = Study.open(where)
    assert digest(study.autoencoder()) == digest(study.initial_autoencoder().eval()) and digest(study.autoencoder('L')) != digest(study.autoencoder())
    again = aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--autoencoder', 'segnet:small-224', '--out', where)
    assert again.returncode == 0 and 'already there' in again.stdout
    planned = aeclf(pictures.parent, 'plan', '--data', f'folder:{pictures}', *tiny, '--autoencoder', 'segnet:small-224')
    assert planned.returncode == 0, planned.stderr


def test_another_study_begins_with_it(ready, pictures, tmp_path):
    file = shutil.copy(ready[0]/'autoencoder'/'S.safetensors', tmp_path)
    command = ['run', '--data', f'folder:{pictures}', *tiny, '--autoencoder', 'segnet:S.safetensors', '--out', 'other']
    assert (result := aeclf(tmp_path, *command)).returncode == 0, result.stderr
    other = Study.open(tmp_path/'other')
    assert digest(other.autoencoder()) == digest(Study.open(ready[0]).autoencoder())
    (tmp_path/'S.safetensors').write_bytes(b'another')
    one_line(aeclf(tmp_path, *command), 'S.safetensors')
    (tmp_path/'S.safetensors').unlink()
    assert aeclf(tmp_path, 'report', 'other').returncode == 0


def test_what_it_has_learnt_from_should_not_be_measured(pictures, tmp_path):
    "Of a study's autoencoder its lists of pictures tell; of a file that lies alone nobody can."
    shutil.copytree(pictures, tmp_path/'pictures')
    command = ['run', '--data', 'folder:pictures', *tiny]
    assert aeclf(tmp_path, *command, '--out', 'first').returncode == 0
    where = tmp_path/'first'/'autoencoder'/'S.safetensors'
    for seed, seen in ((0, False), (1, True)):   # by another seed the folder is divided in another way
        assert aeclf(tmp_path, *command, '--seed', seed, '--autoencoder', f'segnet:{where}', '--out', f'of-{seed}').returncode == 0
        assert ('of the measured pictures are among those that A_S is pre-trained on' in ' '.join(Study.open(tmp_path/f'of-{seed}').notes)) == seen
    shutil.copy(where, tmp_path/'S.safetensors')
    assert aeclf(tmp_path, *command, '--autoencoder', 'segnet:S.safetensors', '--out', 'alone').returncode == 0
    assert 'nobody has said what this A_S has learnt from' in ' '.join(Study.open(tmp_path/'alone').notes)
    assert not Study.open(tmp_path/'first').notes


def test_what_a_name_stands_for_never_changes():
    assert {name: file_digest(file)[:16] for name, file in ready_autoencoders().items()} == {'small-224': '0575a38499b55067'}


@pytest.mark.parametrize(('more', 'words'), [
    (['--autoencoder', 'segnet:small'], ["'segnet:small'", "did you mean 'segnet:small-224'"]),
    (['--autoencoder', 'segnet:'], ['unknown autoencoder']),
    (['--autoencoder', 'segnet:study'], ['segnet:study/autoencoder/S.safetensors']),
    (['--autoencoder', 'segnet:flat.safetensors'], ['flat.safetensors', 'no autoencoder of a study in it']),
    (['--autoencoder', 'segnet:none.safetensors'], ['none.safetensors', 'no such file']),
    (['--autoencoder', 'segnet:decoder.safetensors'], ['decoder.safetensors', 'no autoencoder of a study in it']),
    (['--autoencoder', 'segnet:half.safetensors'], ['half.safetensors']),
    (['--autoencoder', 'segnet:small-224', '--set', 'widths=[8,16]', '--set', 'convs=[1,1]'], ["--set 'widths=[16,32,64]' --set 'convs=[1,2,2]'", '--set autoencoder=']),
    (['--autoencoder', 'segnet:small-224', '--pretrain', 'folder:more'], ['--pretrain folder:more', 'ready-made', '--set autoencoder=']),
])
def test_what_cannot_be_is_one_line(ready, pictures, tmp_path, more, words):
    shutil.copy(ready[0]/'decoders'/'L.safetensors', tmp_path/'decoder.safetensors')
    save_file({'encoder.conv11.weight': torch.tensor(1.)}, tmp_path/'flat.safetensors')
    (tmp_path/'study').mkdir()
    (tmp_path/'half.safetensors').write_bytes((ready[0]/'autoencoder'/'S.safetensors').read_bytes()[:9999])
    one_line(aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', *tiny, *more, '--out', 'x'), *words)
    assert not (tmp_path/'x').exists()


def test_the_preset_for_published_networks_begins_from_it(pictures):
    begun = configure(f'folder:{pictures}', 'L', preset='pretrained')
    assert begun.autoencoder == 'segnet:small-224' and configure(f'folder:{pictures}', 'L', preset='pretrained', settings={'autoencoder': ''}).autoencoder == ''
    assert all(file.stat().st_size < 1e6 for file in ready_autoencoders().values())
