"""The page kit: words, numbers, figures, tables and the page's template; it knows no station."""
