"""Tests of pages in a real browser. They are left out where there is no Chromium, or Playwright is not installed."""
