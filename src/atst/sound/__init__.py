"""Files and folders become waveforms; long recordings become windows."""
