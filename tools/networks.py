"""The smallest network of every module of timm and of torchvision behind the contract, with random weights.

python tools/networks.py            all of them, about half an hour on a core; the table goes to results/networks/table.csv
python tools/networks.py vit vgg    only the modules whose names hold one of these words; printed, nothing is written

Each is tried in a process of its own, which a network can end or keep busy without harm to the others.
"""
import multiprocessing
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
SIZES = (64, 128, 224, 256, 384)   # edges of the images, pixels: the first that a network reads
PATIENCE = 600                     # seconds for one network
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


def at_size(full, size):
    "The network, two images, and the layout that it runs in."
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with seeded(0): model = classifier(full, CLASSES, size).eval()
    trial = try_network(model, images, CLASSES, full)
    layout = 'channels-last' if trial.channels_last else 'contiguous'
    return model, images, dict(pixels=size, layout=layout, why='; '.join(trial.remarks))


def first_size(full):
    "The same at the first size that the network reads; `BadInput` where it reads none of them."
    for size in SIZES:
        try: return at_size(full, size)
        except BadInput as e: error = e
    raise error


def tried(full, tell):
    "Try one network; `tell` gets what is known, as soon as it is."
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    try:
        model, images, found = first_size(full)
        tell(found)
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
    child.join(PATIENCE)
    late = child.is_alive()
    if late: child.kill()
    child.join()
    found = {}
    try:
        while ours.poll(): found |= ours.recv()
    except EOFError: pass
    ended = f'not done after {PATIENCE} s' if late else f'ends the process (signal {-child.exitcode})'
    if child.exitcode: found['why'] = f'{ended}, {"in training" if "decoder" in found else "where it is read"}'
    if child.exitcode and 'decoder' in found: found['training'] = 'fails'
    return found


def table(words=()):
    "A row for each module whose name holds one of the words; all where there are none."
    rows = []
    for (library, module), names in modules().items():
        if words and not any(word in module for word in words): continue
        full, count = smallest(names)
        found = row(full)
        count = round(count/1e6, 2) if count else None
        rows.append(dict(library=library, module=module, network=full, parameters=count) | found)
        print(*rows[-1].values(), sep=' | ', flush=True)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


if __name__ == '__main__':
    made = table(sys.argv[1:])
    if not sys.argv[1:]: made.to_csv(TABLE, index=False)
    print(f'{(made.decoder == "moves alone").sum()} of {len(made)} stand behind the contract')
