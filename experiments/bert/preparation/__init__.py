"""From text to sentence pairs with a part of speech for each piece."""
