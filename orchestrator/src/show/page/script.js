'use strict';
// Unpacks a console when it is opened, and marks its crashes.
for (const box of document.querySelectorAll('details.console')) box.addEventListener('toggle', unpack);

async function unpack() {
  const pre = this.querySelector('pre');
  const packed = pre.dataset.z;
  if (!this.open || !packed) return;
  delete pre.dataset.z;
  try {
    const bytes = Uint8Array.from(atob(packed), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    show(pre, (await new Response(stream).text()).split('\n'));
  } catch (error) {
    pre.prepend('This browser cannot unpack it (' + error + '). ');
  }
}

function show(pre, lines) {
  const marks = pre.dataset.marks.split(' ').filter(Boolean).map(mark => mark.split('-').map(Number));
  const parts = [];
  let at = 0;
  for (const [n, [start, end]] of marks.entries()) {
    parts.push(lines.slice(at, start).concat('').join('\n'));
    const mark = document.createElement('mark');
    mark.textContent = '--- crash ' + (n + 1) + ' ---\n' + lines.slice(start, end).join('\n') + '\n--- end of crash ' + (n + 1) + ' ---';
    parts.push(mark, '\n');
    at = end;
  }
  parts.push(lines.slice(at).join('\n'));
  pre.replaceChildren(...parts);
}
