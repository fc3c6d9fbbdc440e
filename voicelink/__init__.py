"""voicelink: two-party voice calls on a neural speech codec."""
