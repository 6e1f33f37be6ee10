# A10 {"want": "exc:FileNotFoundError", "wantC": "exc:PermissionError"}
print(open("@SECRET_FILE@").read())
