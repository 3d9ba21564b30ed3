//! Transcripts: commands and their replies.
