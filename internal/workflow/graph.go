package workflow

import (
	"fmt"
	"time"

	"leadloom/internal/condition"
)

// leaves lists a node's ways out with the path of each.
func (n *PlanNode) leaves() map[string]string {
	out := map[string]string{}
	if n.Next != "" {
		out["next"] = n.Next
	}
	for name, target := range n.Exits {
		out["exits."+name] = target
	}
	if t := n.OnError.Then; t != "park" && t != "continue" && t != End {
		out["on_error.then"] = t
	}
	return out
}

func (c *compiler) graph() {
	if c.def.Start == "" {
		c.bad("start", "required", "name the first node")
		return
	}
	if c.plan.nodes[c.def.Start] == nil {
		c.bad("start", "unknown_node", "there is no node %q%s", clip(c.def.Start), suggestion(c.def.Start, c.plan.nodes))
		return
	}
	for _, id := range sortedKeys(c.plan.nodes) {
		leaves := c.plan.nodes[id].leaves()
		for _, key := range sortedKeys(leaves) {
			if target := leaves[key]; target != End && c.plan.nodes[target] == nil {
				c.bad("nodes."+id+"."+key, "unknown_node", "there is no node %q%s", clip(target), suggestion(target, c.plan.nodes))
			}
		}
	}
	reached := map[string]bool{}
	c.reach(c.def.Start, reached)
	for _, id := range sortedKeys(c.plan.nodes) {
		if !reached[id] {
			c.bad("nodes."+id, "unreachable", "no way leads to this node; connect it or remove it")
		}
	}
	c.cycles()
}

func suggestion(id string, nodes map[string]*PlanNode) string {
	near := condition.Nearest(id, append(sortedKeys(nodes), End))
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}

func (c *compiler) reach(start string, reached map[string]bool) {
	todo := []string{start}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n := c.plan.nodes[id]; n != nil && !reached[id] {
			reached[id] = true
			for _, target := range n.leaves() {
				todo = append(todo, target)
			}
		}
	}
}

// cycles refuses a circle without a wait of at least a minute: it would run as fast as it can. Removing such waits
// from the graph must leave none.
func (c *compiler) cycles() {
	const onPath, done = 1, 2
	state := map[string]int{}
	var visit func(id string) bool
	visit = func(id string) bool {
		n := c.plan.nodes[id]
		if n == nil || state[id] == done || n.Wait >= time.Minute {
			return false
		}
		if state[id] == onPath {
			c.bad("nodes."+id, "cycle_without_wait", "the run would go round here without a pause; put a wait of at least one minute into the circle")
			return true
		}
		state[id] = onPath
		leaves := n.leaves()
		for _, key := range sortedKeys(leaves) {
			if visit(leaves[key]) {
				return true
			}
		}
		state[id] = done
		return false
	}
	for _, id := range sortedKeys(c.plan.nodes) {
		if visit(id) {
			return
		}
	}
}
