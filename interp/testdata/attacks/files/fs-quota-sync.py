# fs-quota-sync {"as": "denied", "want": "ok"}
c('sync') or s(@306/267@,1)
s(@179/60@,0,0,0,0)
s(@167/224@,b'/tmp/x',0)
s(@163/89@,b'/tmp/x')
