//! One content-addressed store of images: layer archives, EROFS indexes, unpacked directories.
