package rescue

type table struct{}
