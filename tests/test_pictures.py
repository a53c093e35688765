"Pictures of every kind through the command line: in the folder that is trained on, and one's own through a finished study."
import json, shutil

import numpy as np, pandas as pd, pytest
from PIL import Image

from aeclf.data import photograph
from aeclf.pictures import rgb
from aeclf.study import Study, accept
from conftest import aeclf, one_line

tiny = ['--classifiers', 'L,R', '--epochs', '1,1,1', '--size', '32']


@pytest.fixture(scope='module')
def finished(pictures):
    "A finished study of the pictures."
    where = pictures.parent/'of_pictures'
    result = aeclf(pictures.parent, 'run', '--quick', '--data', f'folder:{pictures}', '--classifiers', 'L,R', '--size', '32', '--out', where)
    assert result.returncode == 0, result.stderr
    return where


@pytest.fixture
def photo(tmp_path):
    "A photograph that its camera wrote lying on its side."
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph('coffee')).transpose(Image.Transpose.ROTATE_90).save(tmp_path/'photo.jpg', exif=exif, quality=95)
    return tmp_path/'photo.jpg'


def test_a_picture_of_yours(finished, photo):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob('*') if p.is_file()}
    result = aeclf(photo.parent, 'reconstruct', photo, '--study', finished)
    assert result.returncode == 0, result.stderr
    folder = finished/'reconstructions'/'photo.jpg'
    assert {p.name for p in folder.iterdir()} == {'panel.png', 'said.csv', 'arrays.npz'}
    assert all(str(folder/name) in result.stdout for name in ('panel.png', 'said.csv', 'arrays.npz'))
    said = pd.read_csv(folder/'said.csv')
    assert list(said.row.unique()) == ['original', 'S', 'L', 'R'] and list(said.column.unique()) == ['L', 'R']
    assert set(said['class']) <= {'chelsea', 'coffee'} and said.probability.between(0.5, 1).all()
    for o in said.itertuples(): assert f'{o[3]} {o.probability:.2f}' in result.stdout
    with np.load(folder/'arrays.npz') as arrays:
        assert set(arrays) == {'original', 'A_S', 'A_L', 'A_R', 'lab_A_S', 'lab_A_L', 'lab_A_R'} and {a.shape for a in arrays.values()} == {(3, 32, 32)}
        original = arrays['original']
    upright = np.asarray(Image.fromarray(photograph('coffee')).resize((48, 32), Image.Resampling.BILINEAR))[:, 8:40]/255
    assert np.abs(original.transpose(1, 2, 0)-upright).mean() < 0.02
    assert min(Image.open(folder/'panel.png').size) > 300
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_the_library_gives_what_the_command_line_writes(finished, photo, tmp_path):
    assert aeclf(tmp_path, 'reconstruct', photo, '--study', finished, '--out', 'mine').returncode == 0
    image, made, said = Study.open(finished, 'cpu').reconstruct(photo)
    with np.load(tmp_path/'mine'/'arrays.npz') as arrays:
        assert np.allclose(arrays['original'], image) and all(np.allclose(arrays[f'A_{k}'], o, atol=1e-4) for k,o in made.items())
    assert pd.read_csv(tmp_path/'mine'/'said.csv')['class'].tolist() == said['class'].tolist()


def test_the_images_of_the_study_are_not_needed(finished, pictures, photo, tmp_path):
    study = tmp_path/'elsewhere'
    assert aeclf(tmp_path, 'reconstruct', photo, '--study', finished, '--out', 'here').returncode == 0
    expected = (tmp_path/'here'/'said.csv').read_bytes()
    shutil.copytree(finished, study)
    toml = (study/'study.toml').read_text().replace(str(pictures), '/gone')
    (study/'study.toml').write_text(toml)
    one_line(aeclf(tmp_path, 'reconstruct', photo, '--study', study), 'study.toml is damaged, or was edited by another hand')
    accept(study, ['study.toml'])
    result = aeclf(tmp_path, 'reconstruct', photo, '--study', study)
    assert result.returncode == 0, result.stderr
    assert (study/'reconstructions'/'photo.jpg'/'said.csv').read_bytes() == expected


def test_every_kind_of_picture_can_be_asked_about(finished):
    study, coffee = Study.open(finished, 'cpu'), Image.fromarray(photograph('coffee'))
    whole = study.reconstruct(coffee)[0]
    for kind in ('RGBA', 'CMYK'): assert (study.reconstruct(coffee.convert(kind))[0]-whole).abs().max() < 0.02
    grey = np.asarray(coffee.convert('L'))
    assert (study.reconstruct(Image.fromarray(grey.astype(np.uint16)*257))[0]-study.reconstruct(Image.fromarray(grey))[0]).abs().max() == 0


def test_mistakes_of_reconstruct_take_one_line(finished, photo, tmp_path):
    ask = lambda *args: aeclf(tmp_path, 'reconstruct', *args)
    (tmp_path/'torn.jpg').write_bytes(photo.read_bytes()[:2000])
    one_line(ask('nowhere.jpg', '--study', finished), 'nowhere.jpg', 'No such file')
    one_line(ask('torn.jpg', '--study', finished), 'torn.jpg', 'cannot be read as an image')
    one_line(ask(photo), '--study')
    begun = tmp_path/'begun'
    shutil.copytree(finished, begun)
    (begun/'decoders'/'R.safetensors').unlink()
    one_line(ask(photo, '--study', begun), 'begun', 'not finished', 'decoder R')
    assert not (begun/'reconstructions'/'torn.jpg').exists() and not (finished/'reconstructions'/'torn.jpg').exists()


def test_unreadable_pictures_are_listed_and_skipped_only_when_asked(pictures, tmp_path):
    bad = tmp_path/'bad'
    shutil.copytree(pictures, bad)
    for k in range(4): (bad/'coffee'/f'broken{k}.jpg').write_bytes(b'\xff\xd8 not a picture')
    run = lambda *args: aeclf(tmp_path, 'run', '--data', f'folder:{bad}', *tiny, '--out', 'study', *args)
    one_line(run(), 'broken0.jpg', 'broken1.jpg', 'broken2.jpg', '4 files in all', '--skip-unreadable')
    assert not (tmp_path/'study').exists()
    result = run('--skip-unreadable')
    assert result.returncode == 0, result.stderr
    assert '4 left out that cannot be read' in result.stdout and 'broken0.jpg' in result.stdout
    assert '4 files left out' in json.loads((tmp_path/'study'/'provenance.json').read_text())['images']
    assert 'skip_unreadable = true' in (tmp_path/'study'/'study.toml').read_text()
    one_line(run(), 'another configuration', 'skip_unreadable')


def test_one_photograph_in_several_forms_is_one_photograph(tmp_path):
    "Lying on its side, with a channel of transparency or as CMYK: the same pixels."
    scene = Image.fromarray(photograph('chelsea')[:96, :128])
    exif = Image.Exif()
    exif[0x0112] = 8
    scene.transpose(Image.Transpose.ROTATE_270).save(tmp_path/'lying.png', exif=exif)
    scene.convert('RGBA').save(tmp_path/'alpha.webp', lossless=True)
    for name in ('lying.png', 'alpha.webp'): assert (np.asarray(rgb(tmp_path/name)) == np.asarray(scene)).all()
    scene.convert('CMYK').save(tmp_path/'cmyk.tif')
    assert np.abs(np.asarray(rgb(tmp_path/'cmyk.tif')).astype(int)-np.asarray(scene)).max() <= 1
