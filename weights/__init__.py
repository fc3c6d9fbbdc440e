"""Model folders shipped with voicelink; `manifest.toml` lists them. Read by `voicelink.codec.model_folder`."""
