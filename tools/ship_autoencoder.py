"""Puts the A_S of a finished study into the package, with how it was trained.

python tools/ship_autoencoder.py STUDY NAME ABOUT   then `segnet:NAME` names it; ABOUT says in a sentence what it learnt from
"""
import sys
from pathlib import Path

import aeclf
from aeclf.segnet import SegNet
from aeclf.store import save_weights
from aeclf.study import Study


def ship(study, name, about):
    study = Study.open(study)
    c, history = study.config, study.history('S')
    file = Path(aeclf.__file__).parent/'autoencoders'/f'{name}.safetensors'
    if '.' in name or file.exists(): sys.exit(f'{name}: give a name without a dot that no autoencoder has; what a name stands for never changes')
    if study.comes_ready: sys.exit(f'{study.path}: its A_S came ready-made; give the study that has trained it')
    file.parent.mkdir(exist_ok=True)
    how = dict(about=about, size=c.size, widths=c.widths, convs=c.convs, epochs=c.epochs['autoencoder'], lr=c.lr['autoencoder'],
               optimizer=c.optimizer, bs=c.bs, seed=c.seed, mean_squared_error=round(float(history.valid_loss.iloc[-1]), 4))
    save_weights(file, SegNet.from_file(study.path/'autoencoder'/'S.safetensors'), name=name, **how)
    print(file, file.stat().st_size, 'bytes', how)


if __name__ == '__main__': ship(*sys.argv[1:])
