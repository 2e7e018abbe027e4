"""Models from elsewhere, and files: each format is read into layers of fastnet, and written from them."""
