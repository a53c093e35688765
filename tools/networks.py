"""The smallest network of every module of timm and of torchvision behind the contract, with random weights.

python tools/networks.py            all of them, an hour or more on a core; stopped, it goes on. The table: results/networks/table.csv
python tools/networks.py vit vgg    only the modules whose names hold one of these words; printed, nothing is written

Each is tried in a process of its own, which a network can end or keep busy without harm to the others.
"""
import multiprocessing
import resource
import signal
import sys
import warnings
from pathlib import Path

import pandas as pd
import timm
import torch
import torchvision

from aeclf.classifiers import classifier
from aeclf.composite import Composite, in_fast_layout, try_network
from aeclf.segnet import SegNet
from aeclf.store import BadInput, digest, seeded

TABLE = Path(__file__).parents[1]/'results'/'networks'/'table.csv'
BEGUN = TABLE.with_name('begun.csv')   # the rows so far, from which a stopped run goes on
SIZES = (64, 128, 224, 256, 384)   # edges of the images, pixels: the first that a network reads
PATIENCE = 600                     # seconds of a processor for one network
CLASSES = 10
COLUMNS = ['library', 'module', 'network', 'parameters', 'pixels', 'layout', 'decoder', 'training', 'why']


def parameters(full):
    "How many a network has, without memory for them; None where it cannot be made so."
    library, name = full.split('/')
    try:
        with torch.device('meta'):
            if library == 'timm': net = timm.create_model(name, num_classes=CLASSES)
            else: net = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    except Exception: return None   # both raise anything
    return sum(p.numel() for p in net.parameters())


def smallest(full_names):
    "The one with the fewest parameters, and their number; the first where none can be counted."
    counted = {name: n for name in full_names if (n := parameters(name))}
    best = min(counted, key=counted.get, default=full_names[0])
    return best, counted.get(best)


def modules():
    "(library, module) → names of its networks; those that timm keeps for its own tests are none."
    found = {}
    for module in timm.list_modules():
        names = [f'timm/{name}' for name in timm.list_models(module=module) if not name.startswith('test_')]
        if names: found['timm', module] = names
    for name in torchvision.models.list_models(torchvision.models):
        module = torchvision.models.get_model_builder(name).__module__.rpartition('.')[2]
        found.setdefault(('torchvision', module), []).append(f'torchvision/{name}')
    return found


def frozen_step(model, images):
    "What a step of a decoder in front of the network moves, in a word: `decoder` and nothing else, as it should."
    with seeded(0): composite = in_fast_layout(Composite(SegNet((8, 16), (1, 1)), model), images).train_only('decoder')
    before = {name: digest(part) for name, part in composite.parts.items()}
    optimizer = torch.optim.SGD(composite.parts['decoder'].parameters(), 1e-2)
    torch.nn.functional.cross_entropy(composite.train()(images), torch.tensor([0, 1])).backward()
    optimizer.step()
    moved = [name for name, part in composite.parts.items() if digest(part) != before[name]]
    return 'moves alone' if moved == ['decoder'] else f'moved: {", ".join(moved) or "nothing"}'


def first_size(full):
    "The network at the first size that it reads, and two images of that; at the last size where it reads none."
    for size in SIZES:
        with seeded(0): model = classifier(full, CLASSES, size).eval()
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad(): model(images)
        except Exception: continue   # a network raises anything
        break
    return model, images


def tried(full, tell):
    "Try one network; `tell` gets what is known, as soon as it is."
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE+10))
    warnings.simplefilter('ignore')
    try:
        model, images = first_size(full)
        tell(dict(pixels=images.shape[-1]))
        trial = try_network(model, images, CLASSES, full)
        tell(dict(layout='channels-last' if trial.channels_last else 'contiguous', why='; '.join(trial.remarks)))
        tell(dict(decoder=frozen_step(model, images)))
    except Exception as e: return tell(dict(why=f'{type(e).__name__}: {e}' if not isinstance(e, BadInput) else str(e)))
    try: try_network(model, images, CLASSES, full, trains=True)
    except Exception as e: return tell(dict(training='fails', why=str(e)))
    tell(dict(training='runs'))


def row(full):
    "What came of one network in a process of its own."
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe()
    child = context.Process(target=tried, args=(full, theirs.send))
    child.start()
    theirs.close()
    child.join()
    found = {}
    try:
        while ours.poll(): found |= ours.recv()
    except EOFError: pass
    late = child.exitcode == -signal.SIGXCPU
    ended = f'not done after {PATIENCE} s' if late else f'ends the process (signal {-child.exitcode})'
    if child.exitcode: found['why'] = f'{ended}, {"in training" if "decoder" in found else "where it is read"}'
    if child.exitcode and 'decoder' in found: found['training'] = 'fails'
    return found


def held():
    "The rows of a run that was stopped; of a finished one none."
    if not BEGUN.is_file(): return []
    return pd.read_csv(BEGUN).to_dict('records')


def table(words=()):
    "A row for each module whose name holds one of the words; all, kept as they come, where there are none."
    rows = [] if words else held()
    for (library, module), names in modules().items():
        if words and not any(word in module for word in words): continue
        if (library, module) in {(o['library'], o['module']) for o in rows}: continue
        full, count = smallest(names)
        found = row(full)
        count = round(count/1e6, 2) if count else None
        rows.append(dict(library=library, module=module, network=full, parameters=count) | found)
        print(*rows[-1].values(), sep=' | ', flush=True)
        if not words: pd.DataFrame(rows).reindex(columns=COLUMNS).to_csv(BEGUN, index=False)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


if __name__ == '__main__':
    made = table(sys.argv[1:])
    if not sys.argv[1:]: BEGUN.replace(TABLE)
    print(f'{(made.decoder == "moves alone").sum()} of {len(made)} stand behind the contract')
