# out-terminal-answers {"want": "ok", "has": "end"}
print('\x1b[6n\x1b[c\x1b]52;c;aGk=\x07\x1bP+q544e\x1b\\\x1b[2J\x9b31m\x90x\x9c'+'\u202e\u2066\u200b\U000e0041end')
