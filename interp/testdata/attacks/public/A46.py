# A46 {"want": "ok|exc:UnicodeEncodeError"}
print("\ud800\udfff \U0001f600 \x00 \x1b[31m")
