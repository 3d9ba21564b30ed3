//! Commands typed as a line of text.
