// The few things that a page can't do by itself. Everything works without them but copying and the one-time link.
'use strict';

const status = (text) => {
  const live = document.getElementById('live');
  live.textContent = '';
  // A text that is set in the same turn is not read out.
  setTimeout(() => { live.textContent = text; }, 50);
};

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    status('Copied.');
    button.textContent = 'Copied';
  } catch {
    // No permission: select it, so that Ctrl-C does it.
    getSelection().selectAllChildren(source);
    status('Selected. Press Ctrl-C to copy.');
    button.textContent = 'Press Ctrl-C';
  }
});

// The one-time link carries its token behind the `#`, which is sent to nobody. It goes into the form, and out of the address.
const welcome = () => {
  const field = document.getElementById('welcome-token');
  if (!field || location.hash.length < 2) return;
  field.value = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
};

// What was swapped in and wants attention gets the focus, so that keyboards and screen readers are where the news is.
document.addEventListener('htmx:afterSettle', () => {
  const wanted = document.querySelector('[data-focus]');
  if (wanted) {
    wanted.removeAttribute('data-focus');
    wanted.focus();
  }
});

document.addEventListener('htmx:sendError', () => status('The service can’t be reached.'));
document.addEventListener('DOMContentLoaded', () => {
  welcome();
  const wanted = document.querySelector('[data-focus]');
  if (wanted) wanted.focus();
});
