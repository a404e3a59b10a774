// Loaded before anything is drawn, so that a chosen theme does not flash. Without a choice the system's holds.
{
  const root = document.documentElement;
  const chosen = localStorage.getItem('theme');
  if (chosen) root.dataset.theme = chosen;

  addEventListener('DOMContentLoaded', () => {
    document.getElementById('theme').addEventListener('click', () => {
      const dark = root.dataset.theme
        ? root.dataset.theme === 'dark'
        : matchMedia('(prefers-color-scheme: dark)').matches;
      root.dataset.theme = dark ? 'light' : 'dark';
      localStorage.setItem('theme', root.dataset.theme);
    });
  });
}
