# vfork-hang {"as": "native", "want": "ok", "has": "1"}
print(e(@58/1079@))
print(e(@57/1079@))
