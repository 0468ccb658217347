"""``ngas_client``: an NGAS node, ours or a real one, from the shell."""
