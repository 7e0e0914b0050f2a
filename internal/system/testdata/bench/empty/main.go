// Empty does nothing: what a program in Go takes to do it is what certlatch's
// start-up is measured against.
package main

func main() {}
