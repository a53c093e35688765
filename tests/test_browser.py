"The report in a real browser: Debian's chromium, driven by Playwright. Skipped where there is none."
import shutil,subprocess
from pathlib import Path

import pandas as pd, pytest
from PIL import Image

from aeclf.data import photograph
from conftest import aeclf

chromium = next((p for p in (Path('/usr/bin/chromium'), Path('/usr/bin/chromium-browser')) if p.exists()), None)
if chromium is None: pytest.skip('no chromium here (apt-get install chromium): the report is not tried in a browser', allow_module_level=True)
sync_playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed (pip install playwright)').sync_playwright
arguments = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "A small study of pictures, one class of which has a name that looks like HTML."
    root = tmp_path_factory.mktemp('browser')
    for folder,name in (('<b>coffee', 'coffee'), ('chelsea', 'chelsea'), ('rocket', 'rocket'), ('astronaut', 'astronaut')):
        (root/'data'/folder).mkdir(parents=True)
        for k in range(40): Image.fromarray(photograph(name)[4*k:4*k+80, 5*k:5*k+100]).save(root/'data'/folder/f'{k:02}.png')
    result = aeclf(root, 'run', '--data', f'folder:{root/"data"}', '--classifiers', 'L,A,R', '--epochs', '3,2,1', '--size', '32', '--controls', '--out', root/'study')
    assert result.returncode == 0, result.stderr
    return root/'study'


@pytest.fixture(scope='module')
def browser():
    with sync_playwright() as p:
        running = p.chromium.launch(executable_path=str(chromium), args=arguments)
        yield running
        running.close()


@pytest.fixture
def opened(browser, study):
    "Opens the report; afterwards the console must be empty and nothing may have been asked for."
    said,asked,pages = [],[],[]
    def open_page(width=1200, scheme='light', **kw):
        page = browser.new_page(viewport=dict(width=width, height=900), color_scheme=scheme, accept_downloads=True, **kw)
        page.on('console', lambda m: said.append(m.text))
        page.on('pageerror', lambda e: said.append(str(e)))
        page.on('request', lambda r: asked.append(r.url))
        pages.append(page)
        page.goto(f'file://{study}/report.html')
        # locators, not `wait_for_function`: asked a second time it needs an eval, which the page forbids
        page.locator('#shown:not(:empty)').wait_for(state='attached')
        page.locator('.plot .main-svg').first.wait_for(state='attached')
        return page
    yield open_page
    for page in pages: page.close()
    assert said == []
    assert [u for u in asked if not u.startswith('data:')] == [f'file://{study}/report.html']*len(pages)


def test_the_slider_changes_the_lattice(opened):
    page = opened()
    count = page.locator('.lattice').count()
    shown = lambda: page.locator('.lattice:visible').get_attribute('data-step')
    assert count > 2 and page.locator('.lattice:visible').count() == 1
    page.focus('#t')
    page.keyboard.press('Home')
    seen = [(shown(), page.inner_text('#t-says'), page.get_attribute('#t', 'aria-valuetext'))]
    for _ in range(count-1):
        page.keyboard.press('ArrowRight')
        seen.append((shown(), page.inner_text('#t-says'), page.get_attribute('#t', 'aria-valuetext')))
    assert [int(o[0]) for o in seen] == list(range(count)) and len({o[1] for o in seen}) == count == len({o[2] for o in seen})
    page.keyboard.press('ArrowLeft')
    assert shown() == str(count-2)


def test_the_table_and_the_barcode_follow_the_slider(opened):
    page = opened()
    page.focus('#t')
    page.keyboard.press('Home')
    assert page.locator('#table-rrc td:not(.served)').count() == 0
    page.keyboard.press('End')
    assert page.locator('#table-rrc td.served').count() == 0
    alive = page.locator('.life.alive').all_inner_texts()
    assert all('t >' in text for text in alive) and alive
    page.locator('.life .track').first.click(position=dict(x=2, y=5))
    assert page.input_value('#t') == '0'


def test_a_node_tells_its_concept(opened):
    page = opened()
    nodes = page.locator('.lattice:visible .node')
    says = lambda: page.inner_text('#concept')
    before = says()
    nodes.first.hover()
    hovered = says()
    assert hovered != before and 'of the resamples' in hovered
    page.mouse.move(0, 0)
    page.focus('#t')
    for _ in range(3):   # over the box of the diagram to its first node, and on
        page.keyboard.press('Tab')
        if page.evaluate('document.activeElement.matches(".node")'): break
    assert page.evaluate('document.activeElement.dataset.node') == '0' and says() == hovered
    if nodes.count() > 1:
        page.keyboard.press('Tab')
        assert says() != hovered
    assert page.evaluate('document.activeElement.getAttribute("aria-label")').startswith('{')


def test_images_and_autoencoders_are_chosen(opened):
    page = opened()
    picture = lambda id: page.evaluate(f'document.querySelector("#{id}").toDataURL()')
    ids = ['view-original', 'view-made', 'view-1', 'view-2', 'view-3', 'swipe-original', 'swipe-made']
    first = {id: picture(id) for id in ids}
    assert len(set(first.values())) == 5   # the swipe shows the same two again
    page.focus('#pick-auto input')
    page.keyboard.press('ArrowRight')
    second = {id: picture(id) for id in ids}
    assert [id for id in ids if first[id] == second[id]] == ['view-original', 'swipe-original'] and 'AL' in page.inner_text('#shown')
    page.focus('#pick-image input')
    page.keyboard.press('ArrowRight')
    assert picture('view-original') != first['view-original'] and 'Image 2' in page.inner_text('#shown')
    assert page.locator('#says tbody tr').count() == 3 and page.locator('#says td.right, #says td.wrong').count() == 6


def test_swipe_by_key_and_by_hand(opened):
    page = opened()
    cut = lambda: page.evaluate('getComputedStyle(document.querySelector("#swipe-original")).clipPath')
    before = cut()
    page.focus('#swipe')
    page.keyboard.press('ArrowRight')
    assert cut() != before
    box = page.locator('.stage').bounding_box()
    page.mouse.move(box['x']+box['width']*0.9, box['y']+20)
    page.mouse.down()
    page.mouse.up()
    assert 85 <= int(page.input_value('#swipe')) <= 95


def test_tables_sort_and_come_as_csv(opened, study):
    page = opened()
    column = lambda: [float(v) for v in page.eval_on_selector_all('#table-accuracy tbody tr', 'rows => rows.map(o => o.cells[1].dataset.key)')]
    head = page.locator('#table-accuracy thead th').nth(1)
    page.locator('#table-accuracy thead button').nth(1).click()
    assert column() == sorted(column()) and head.get_attribute('aria-sort') == 'ascending'
    page.keyboard.press('Enter')
    assert column() == sorted(column(), reverse=True) and head.get_attribute('aria-sort') == 'descending'
    with page.expect_download() as download: page.locator('a[download="rrc.csv"]').click()
    got = pd.read_csv(download.value.path(), index_col=0)
    pd.testing.assert_frame_equal(got, pd.read_csv(study/'rrc.csv', index_col=0))
    assert page.locator('table.sortable').count() == page.locator('table.sortable').filter(has=page.locator('th[aria-sort]')).count()
    assert page.locator('figure.table').count() == page.locator('figure.table:has(a.csv)').count()


def test_names_stay_text(opened):
    page = opened()
    assert page.evaluate('[...document.querySelectorAll("b")].every(o => !o.textContent.startsWith("coffee"))')
    assert '<b>coffee' in page.inner_text('#says') + page.inner_text('#shown') + ' '.join(page.locator('#pick-image canvas').evaluate_all('o => o.map(e => e.getAttribute("aria-label"))'))


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_phone_needs_no_sideways_scrolling(opened, scheme):
    page = opened(390, scheme)
    page.eval_on_selector_all('details', 'all => all.forEach(o => o.open = true)')
    for _ in range(page.locator('.lattice').count()):
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
        page.focus('#t')
        page.keyboard.press('ArrowRight')


def test_in_print_everything_stands_there(opened):
    page = opened(scheme='dark')
    page.emulate_media(media='print')
    page.evaluate('dispatchEvent(new Event("beforeprint"))')
    assert page.locator('.lattice:visible').count() == page.locator('.lattice').count() and not page.locator('#t').is_visible()
    assert page.locator('.sheet:visible').count() == page.locator('.sheet').count() > 5 and page.locator('details:not([open])').count() == 0
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') in ('rgb(255, 255, 255)', 'color(srgb 1 1 1)')
    page.evaluate('dispatchEvent(new Event("afterprint"))')
    assert page.locator('details[open]').count() == 0
    assert page.pdf()[:4] == b'%PDF'


# WCAG contrast of every text with what is behind it; a text in a diagram stands on the box before it.
contrast = '''() => {
  const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => { pixel.clearRect(0, 0, 1, 1); pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); return [...pixel.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * x + .7152 * y + .0722 * z; };
  const behind = e => {
    if (e.matches('.hasse text')) for (let o = e.previousElementSibling; o; o = o.previousElementSibling) if (o.matches('rect')) return rgba(getComputedStyle(o).fill);
    for (let o = e; o; o = o.parentElement) { const c = rgba(getComputedStyle(o).backgroundColor); if (c[3] > 250) return c; }
    return [255, 255, 255, 255];
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  for (let node; node = walk.nextNode();) {
    const e = node.parentElement.closest('text') ?? node.parentElement;
    if (!node.textContent.trim() || e.closest('script, style') || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    const style = getComputedStyle(e), a = light(rgba(e.closest('svg') ? style.fill : style.color)), b = light(behind(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    count++;
    if (ratio < 4.5) found.push([node.textContent.trim().slice(0, 30), e.outerHTML.slice(0, 80), ratio.toFixed(2)]);
  }
  return [count, found];
}'''


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_contrast(opened, scheme):
    page = opened(scheme=scheme)
    page.eval_on_selector_all('details', 'all => all.forEach(o => o.open = true)')
    count,found = page.evaluate(contrast)
    assert count > 300 and found == []
    page.emulate_media(color_scheme='dark' if scheme == 'light' else 'light')   # while it is open
    page.wait_for_timeout(300)
    assert page.evaluate(contrast)[1] == []


@pytest.fixture(scope='module')
def axe(tmp_path_factory):
    "axe-core's script, from npm."
    folder = tmp_path_factory.mktemp('axe')
    if not shutil.which('npm'): pytest.skip('no npm here: axe-core cannot be had')
    result = subprocess.run(['npm', 'install', '--silent', '--no-audit', '--no-fund', 'axe-core@4'], cwd=folder, capture_output=True, timeout=300)
    if result.returncode: pytest.skip('npm cannot get axe-core here')
    return (folder/'node_modules'/'axe-core'/'axe.min.js').read_text()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_axe_finds_nothing(opened, axe, scheme):
    page = opened(scheme=scheme)
    page.eval_on_selector_all('details', 'all => all.forEach(o => o.open = true)')
    page.evaluate(axe)
    found = page.evaluate('axe.run().then(o => o.violations.map(v => [v.id, v.impact, v.nodes[0].html.slice(0, 120)]))')
    assert found == []


def test_focus_is_seen(opened):
    page = opened()
    for selector in ('#t', '#table-rrc thead button', 'nav a', 'summary', '#swipe'):
        page.focus('body')
        page.focus(selector)
        page.keyboard.press('Shift+Tab')
        page.keyboard.press('Tab')
        assert page.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid', selector
